import type { OpenBase } from '../memory/base.ts'
import { prepareHelp } from '../memory/copy-helper.ts'
import { copyDelta, type Delta } from '../memory/delta.ts'
import { findGuestRam, type GuestRam } from '../memory/guest-ram.ts'
import { listPrivateRuns, totalBytes } from '../memory/private-runs.ts'
import { residentBuffer } from '../memory/resident-buffer.ts'
import { type DeviceState, saveDeviceBlob } from '../qemu/device-state.ts'
import { pauseGuest, resumeGuest } from '../qemu/incoming.ts'
import type { PageRun } from '../qemu/migration-stream/encode.ts'
import type { QemuProcess } from '../qemu/process.ts'
import { readRamBlocks } from '../qemu/ram-blocks.ts'
import { readRomPages } from '../qemu/rom-pages.ts'
import { RametError } from '../shared/errors.ts'
import { faultPoint } from '../shared/fault.ts'
import { limits } from '../shared/limits.ts'
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
  /** goes-on · stays-paused: left standing, its workload frozen · was-paused: stands already, and does so afterwards whatever happens */
  parent: 'goes-on' | 'stays-paused' | 'was-paused'
  /** the copy is given up when the guest has stood for so long */
  maxPauseMs?: number
  signal?: AbortSignal
}

/** The state of a vm at one moment; unless it is to stand, that is over and it runs on. Its disks are frozen since. */
export interface LiveCapture {
  deviceState: DeviceState
  romPages: PageRun[]
  /** what the vm's memory has over its base */
  delta: Delta
  timings: PauseTimings
}

/** How long the vm stood still, as its user saw it. */
export interface PauseTimings {
  /** workload not executing: from the request to freeze it until the guest said that it had thawed it */
  freezeMs: number
  /** guest not executing: from the request to stop it until QEMU said that it runs */
  pauseMs: number
  /** of the pause: waiting until the disks were frozen, besides which nothing but copying goes on */
  pauseDiskMs: number
  /** of the pause: all the rest. Stop, devices, memory, continue */
  pauseMemoryMs: number
  /** of the pause: from the first page looked for to the last one copied; devices are saved meanwhile */
  captureMs: number
}

/** What a guest may write between the estimate of its delta and the stop, as a part of it and at least. */
const slack = { factor: 1.15, bytes: 16 * 1024 * 1024 }

/**
 * Captures devices, memory delta and disks of a running vm in one stop. Everything that can be done while
 * the guest runs is done before: firmware and table of blocks read, buffer made resident, the second copying
 * thread started.
 *
 * @throws RametError `NO_CAPACITY`, `PAUSE_TOO_LONG`, and as the steps; the vm runs on then, and its disks may be frozen: `mergeDisks`
 */
export async function captureLive(options: LiveCaptureOptions): Promise<LiveCapture> {
  const { qemu, workload, signal, base } = options
  const cancel = signal === undefined ? {} : { signal }
  const ram = findGuestRam({
    pid: qemu.identity.pid,
    sizeBytes: options.memoryBytes,
    ...(base === undefined ? {} : { baseId: base.id }),
  })
  const blocks = await readRamBlocks(qemu.qmp)
  const romPages = await readRomPages(qemu, blocks)
  const estimateBytes = totalBytes(await listPrivateRuns(ram))
  if (estimateBytes >= limits.memoryHelpBytes) void prepareHelp()
  const buffer = await residentBuffer(Math.ceil(estimateBytes * slack.factor) + slack.bytes, cancel)
  await using revert = new Revert()
  const freezeStartMs = performance.now()
  revert.add('thaw', () => workload.thaw())
  await workload.freeze(signal)
  faultPoint('live.frozen')
  const pauseStartMs = performance.now()
  const goesOn = options.parent === 'goes-on'
  if (options.parent !== 'was-paused') revert.add('continue', () => resumeGuest(qemu))
  const { blob, delta, pauseDiskMs, captureMs } = await captureStopped(options, ram, buffer)
  faultPoint('live.captured')
  revert.keep()
  const resumed = (goesOn ? resumeGuest(qemu) : Promise.resolve()).then(() => performance.now() - pauseStartMs)
  // Sent at once: it waits for the guest in its queue. Everything is captured, so that no child sees it.
  const [pauseMs] = await Promise.all([resumed, goesOn ? workload.thaw() : undefined])
  const freezeMs = performance.now() - freezeStartMs
  const timings = { freezeMs, pauseMs, pauseDiskMs, pauseMemoryMs: pauseMs - pauseDiskMs, captureMs }
  return { deviceState: { blob, blocks }, romPages, delta, timings }
}

interface Stopped {
  blob: Buffer
  delta: Delta
  pauseDiskMs: number
  captureMs: number
}

/**
 * Stops the guest and captures it. QEMU has all its orders at once and takes them in turn, while memory is
 * copied from outside. Nothing of it is under way any more when this has ended, whichever way: the guest may go on.
 */
async function captureStopped(options: LiveCaptureOptions, ram: GuestRam, buffer: Buffer): Promise<Stopped> {
  const { qemu, signal } = options
  const stopping = pauseGuest(qemu)
  // Were it not stopped, the others would have been done too; so they are waited for, and the vm's disks merged.
  const freezing = freezeDisks(qemu, options.diskLevels).then(() => performance.now())
  const saving = saveDeviceBlob(qemu)
  const copying = stopping.then(async () => {
    const startMs = performance.now()
    faultPoint('live.paused')
    using goal = keepGoal(options.maxPauseMs)
    const signals = [signal, goal.signal].filter((one) => one !== undefined)
    const delta = await copyNow(ram, buffer, { signal: AbortSignal.any(signals) })
    return { delta, startMs, captureMs: performance.now() - startMs }
  })
  const [copied, frozenAtMs, blob] = await allOrFirst([copying, freezing, saving])
  return { ...copied, blob, pauseDiskMs: Math.max(0, frozenAtMs - copied.startMs) }
}

/** A guest that has written more than it was given room for costs the making of more room, while it stands. */
async function copyNow(ram: GuestRam, buffer: Buffer, options: { signal?: AbortSignal }): Promise<Delta> {
  const runs = await listPrivateRuns(ram)
  const bytes = totalBytes(runs)
  return copyDelta(ram, runs, bytes <= buffer.length ? buffer : await residentBuffer(bytes, options), options)
}

/** All results, or the first failure in the order given; either way after all have ended. */
async function allOrFirst<T extends readonly unknown[]>(work: { [K in keyof T]: Promise<T[K]> }): Promise<T> {
  await Promise.allSettled(work)
  return (await Promise.all(work)) as unknown as T
}

/** Better no capture than a longer pause, where the caller said so. Its signal aborts when the time is over. */
function keepGoal(maxPauseMs: number | undefined): { signal: AbortSignal | undefined } & Disposable {
  if (maxPauseMs === undefined) return { signal: undefined, [Symbol.dispose]: () => {} }
  const goal = new AbortController()
  const message = `the pause of at most ${Math.round(maxPauseMs)} ms was over before all was copied, so it was given up`
  const giveUp = () => goal.abort(new RametError('PAUSE_TOO_LONG', { message, details: { maxPauseMs } }))
  const timer = setTimeout(giveUp, maxPauseMs)
  return { signal: goal.signal, [Symbol.dispose]: () => clearTimeout(timer) }
}
