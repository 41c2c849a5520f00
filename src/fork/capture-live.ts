import type { OpenBase } from '../memory/base.ts'
import { copyDelta, type Delta, listPrivateRuns, totalBytes } from '../memory/capture.ts'
import { findGuestRam } from '../memory/guest-ram.ts'
import { type DeviceState, saveDeviceState } from '../qemu/device-state.ts'
import { pauseGuest, resumeGuest } from '../qemu/incoming.ts'
import type { PageRun } from '../qemu/migration-stream/encode.ts'
import type { QemuProcess } from '../qemu/process.ts'
import { readRamBlocks } from '../qemu/ram-blocks.ts'
import { readRomPages } from '../qemu/rom-pages.ts'
import { faultPoint } from '../shared/fault.ts'
import { Revert } from '../shared/revert.ts'
import type { Workload } from './capture.ts'
import { freezeDisks } from './disk-point.ts'

export interface LiveCaptureOptions {
  qemu: QemuProcess
  workload: Workload
  memoryBytes: number
  /** level of each disk that shall stand still, as `prepareDiskPoint` was told */
  diskLevels: readonly number[]
  /** base that the vm runs on; absent for fresh memory */
  base?: OpenBase
  signal?: AbortSignal
}

/** The state of a running vm at one moment, which is over: the vm runs on. Its disks are frozen since. */
export interface LiveCapture {
  deviceState: DeviceState
  romPages: PageRun[]
  /** what the vm's memory has over its base */
  delta: Delta
  /** workload not executing */
  freezeMs: number
  /** guest not executing */
  pauseMs: number
  /** of the pause: copying memory */
  copyMs: number
}

/** What a guest may write between the estimate of its delta and the stop, as a part of it and at least. */
const slack = { factor: 1.15, bytes: 16 * 1024 * 1024 }

/**
 * Captures devices, memory delta and disks of a running vm in one stop. Everything that can be done while
 * the guest runs is done before: firmware read, buffer allocated and touched (copying into fresh memory is
 * several times slower).
 *
 * @throws RametError as the steps; the vm runs on then, and its disks may be frozen: `mergeDisks`
 */
export async function captureLive(options: LiveCaptureOptions): Promise<LiveCapture> {
  const { qemu, workload, signal, base } = options
  const ram = findGuestRam({
    pid: qemu.identity.pid,
    sizeBytes: options.memoryBytes,
    ...(base === undefined ? {} : { baseId: base.id }),
  })
  const romPages = await readRomPages(qemu, await readRamBlocks(qemu.qmp))
  const estimate = totalBytes(listPrivateRuns(ram))
  const buffer = Buffer.allocUnsafeSlow(Math.ceil(estimate * slack.factor) + slack.bytes).fill(1)
  await using revert = new Revert()
  const freezeStartMs = performance.now()
  revert.add('thaw', () => workload.thaw())
  await workload.freeze(signal)
  faultPoint('live.frozen')
  const pauseStartMs = performance.now()
  revert.add('continue', () => resumeGuest(qemu))
  await pauseGuest(qemu)
  faultPoint('live.paused')
  // Disks first: saving the devices of a stopped guest takes its disks out of service until it goes on.
  await freezeDisks(qemu, options.diskLevels)
  const deviceState = await saveDeviceState(qemu)
  const copyStartMs = performance.now()
  const runs = listPrivateRuns(ram)
  const delta = await copyDelta(ram, runs, totalBytes(runs) <= buffer.length ? buffer : undefined)
  const copyMs = performance.now() - copyStartMs
  faultPoint('live.captured')
  revert.keep()
  await resumeGuest(qemu)
  const pauseMs = performance.now() - pauseStartMs
  await workload.thaw()
  return { deviceState, romPages, delta, copyMs, pauseMs, freezeMs: performance.now() - freezeStartMs }
}
