import { closeSync } from 'node:fs'
import type { OpenBase } from '../memory/base.ts'
import { foldBase } from '../memory/capture.ts'
import { findGuestRam } from '../memory/guest-ram.ts'
import { listPrivateRuns } from '../memory/private-runs.ts'
import { type DeviceState, saveDeviceState } from '../qemu/device-state.ts'
import { pauseGuest, resumeGuest } from '../qemu/incoming.ts'
import { nodeNames } from '../qemu/machine.ts'
import type { QemuProcess } from '../qemu/process.ts'
import { faultPoint } from '../shared/fault.ts'
import { Revert } from '../shared/revert.ts'
import type { NicPlan } from './launch.ts'

/** What the capture needs of the guest's agent. */
export interface Workload {
  freeze(signal?: AbortSignal): Promise<void>
  thaw(): Promise<void>
}

export interface CaptureOptions {
  qemu: QemuProcess
  workload: Workload
  memoryBytes: number
  nics: readonly NicPlan[]
  /** whether the links were up, and come up again when the vm runs on */
  linksUp: boolean
  /** base that the vm runs on; absent for fresh memory */
  base?: OpenBase
  /** id of the base to make */
  newBaseId: string
  signal?: AbortSignal
  onProgress?: (doneBytes: number, totalBytes: number) => void
}

/** A guest's state of one moment. The vm is left stopped and frozen; `release` lets it run on. */
export interface Capture {
  deviceState: DeviceState
  /** its whole memory, sealed; the caller closes the descriptor */
  base: OpenBase
  freezeStartMs: number
  pauseStartMs: number
  captureMs: number
  release(): Promise<void>
}

/**
 * Stops a running vm at a quiet point (workload frozen, links down) and captures devices and memory of
 * that one moment. With an error the vm runs on as if nothing had happened.
 *
 * Links are taken down before the state is saved: whatever is made from it comes up without one, so that
 * no child says a word in its parent's name before it has an identity of its own.
 *
 * @throws RametError `GUEST_REFUSED`, `GUEST_UNREACHABLE`, `NO_CAPACITY`, `VMM_FAILED`, or the signal's reason
 */
export async function captureGuest(options: CaptureOptions): Promise<Capture> {
  const { qemu, workload, signal } = options
  await using revert = new Revert()
  const freezeStartMs = performance.now()
  revert.add('thaw', () => workload.thaw())
  await workload.freeze(signal)
  faultPoint('capture.frozen')
  revert.add('links', () => setLinks(qemu, options.nics, options.linksUp))
  await setLinks(qemu, options.nics, false)
  const pauseStartMs = performance.now()
  revert.add('continue', () => resumeGuest(qemu))
  await pauseGuest(qemu)
  faultPoint('capture.paused')
  const { deviceState, base } = await captureBoth(options)
  revert.keep()
  return {
    deviceState,
    base,
    freezeStartMs,
    pauseStartMs,
    captureMs: performance.now() - pauseStartMs,
    release: async () => {
      await resumeGuest(qemu)
      await setLinks(qemu, options.nics, options.linksUp)
      await workload.thaw()
    },
  }
}

/** Side by side; a guest must not run on while one of the two still reads it, so both have come to an end here. */
async function captureBoth(options: CaptureOptions): Promise<{ deviceState: DeviceState; base: OpenBase }> {
  const [devices, memory] = await Promise.allSettled([saveDeviceState(options.qemu), captureMemory(options)])
  if (memory.status === 'rejected') throw memory.reason
  if (devices.status === 'fulfilled') return { deviceState: devices.value, base: memory.value }
  closeSync(memory.value.fd)
  throw devices.reason
}

async function captureMemory(options: CaptureOptions): Promise<OpenBase> {
  const { base, memoryBytes } = options
  const ram = findGuestRam({
    pid: options.qemu.identity.pid,
    sizeBytes: memoryBytes,
    ...(base === undefined ? {} : { baseId: base.id }),
  })
  return foldBase({
    id: options.newBaseId,
    ram,
    runs: await listPrivateRuns(ram),
    ...(base === undefined ? {} : { base }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    ...(options.onProgress === undefined ? {} : { onProgress: options.onProgress }),
  })
}

/** Sets the links of all NICs, as if their cables were plugged or unplugged. Those on `none` stay unplugged. */
export async function setLinks(
  qemu: QemuProcess,
  nics: readonly Pick<NicPlan, 'network'>[],
  up: boolean,
): Promise<void> {
  for (const [index, { network }] of nics.entries()) {
    await qemu.qmp.execute('set_link', { name: nodeNames.nic(index), up: up && network !== 'none' })
  }
}
