import type { OpenBase } from '../memory/base.ts'
import type { Delta } from '../memory/delta.ts'
import { findGuestRam } from '../memory/guest-ram.ts'
import { BaseCollector, DeltaCollector } from '../memory/page-collector.ts'
import { prefault } from '../memory/prefault.ts'
import { BackgroundSnapshot, disableBackground, ensureRunning } from '../qemu/background-snapshot.ts'
import type { DeviceState } from '../qemu/device-state.ts'
import { pauseGuest } from '../qemu/incoming.ts'
import { nodeNames } from '../qemu/machine.ts'
import { StreamDecoder } from '../qemu/migration-stream/decode.ts'
import type { PageRun } from '../qemu/migration-stream/encode.ts'
import type { QemuProcess } from '../qemu/process.ts'
import { readRamBlocks } from '../qemu/ram-blocks.ts'
import { readRomPages } from '../qemu/rom-pages.ts'
import { RametError } from '../shared/errors.ts'
import { faultPoint } from '../shared/fault.ts'
import { Revert } from '../shared/revert.ts'
import type { Workload } from './capture.ts'
import { freezeDisks } from './disk-point.ts'

export interface BackgroundCaptureOptions {
  /** its capability is on: `enableBackground` */
  qemu: QemuProcess
  workload: Workload
  memoryBytes: number
  /** level of each disk that shall stand still, as `prepareDiskPoint` was told */
  diskLevels: readonly number[]
  /** base that the vm runs on; absent for fresh memory */
  base?: OpenBase
  /** what becomes of the memory: a delta over `base`, or a new base of this id */
  into: { kind: 'delta' } | { kind: 'base'; id: string }
  /** guest memory that is at most not zeros: about what the stream takes for a while */
  streamBytes: number
  /** what the memory takes from then on */
  keptBytes: number
  signal?: AbortSignal
  onProgress?: (stage: 'prefaulting' | 'streaming', doneBytes: number, totalBytes: number) => void
  /** told when the guest and its workload run again; the memory is still being read */
  onResumed?: () => Promise<void>
}

export type CapturedMemory = { kind: 'delta'; delta: Delta } | { kind: 'base'; base: OpenBase }

/** The state of a running vm at one moment, which is over: the vm runs on. Its disks are frozen since. */
export interface BackgroundCapture {
  deviceState: DeviceState
  romPages: PageRun[]
  /** the caller closes a base's descriptor */
  memory: CapturedMemory
  timings: { freezeMs: number; pauseMs: number; pauseMemoryMs: number; pauseDiskMs: number; streamMs: number }
}

/**
 * Captures devices, memory and disks of a running vm in one stop that does not depend on how much it has written:
 * the guest stands while its pages are protected, and the stream that follows is exact as of that moment
 * (docs/decisions/0041). The guest is slowed down while it is sent, since a page is sent before it may change.
 *
 * @throws RametError `VMM_FAILED`, `TIMEOUT`, `NO_CAPACITY`, `GUEST_REFUSED`; the signal's reason. The vm runs on
 *   then, without a trace of the attempt but that its disks may be frozen: `mergeDisks`
 */
export async function captureBackground(options: BackgroundCaptureOptions): Promise<BackgroundCapture> {
  const { qemu, signal, onProgress } = options
  await using revert = new Revert()
  revert.add('capability', () => disableBackground(qemu))
  const ram = findGuestRam({
    pid: qemu.identity.pid,
    sizeBytes: options.memoryBytes,
    ...(options.base === undefined ? {} : { baseId: options.base.id }),
  })
  const blocks = await readRamBlocks(qemu.qmp)
  const romPages = await readRomPages(qemu, blocks)
  const collector = collectorOf(options)
  revert.add('memory', () => collector.drop())
  const reserveBytes = options.streamBytes
  await using snapshot = await BackgroundSnapshot.prepare(qemu, { reserveBytes, ...(signal && { signal }) })
  await prefault(ram, {
    ...(signal === undefined ? {} : { signal }),
    onProgress: (done, total) => onProgress?.('prefaulting', done, total),
  })
  faultPoint('background.prepared')
  const decoder = new StreamDecoder({
    // The firmware was read before; it never changes.
    page: (block, offsetBytes, data) => {
      if (block === nodeNames.memory) collector.page(offsetBytes, data)
    },
  })
  const paused = await standStill(options, () => snapshot.begin())
  const streamStartMs = performance.now()
  await options.onResumed?.()
  let doneBytes = 0
  await snapshot.read((chunk) => {
    decoder.push(chunk)
    faultPoint('background.streaming')
    doneBytes += chunk.length
    onProgress?.('streaming', doneBytes, options.memoryBytes)
  }, signal)
  faultPoint('background.streamed')
  const { deviceBlob, blocks: streamed } = decoder.finish()
  const same = streamed.every(({ name, usedBytes }) => blocks.some((b) => b.name === name && b.usedBytes === usedBytes))
  if (!same) throw new RametError('VMM_FAILED', { message: 'the stream has other blocks of memory than the machine' })
  const memory = collector.finish()
  const streamMs = performance.now() - streamStartMs
  revert.keep()
  return { deviceState: { blob: deviceBlob, blocks }, romPages, memory, timings: { ...paused, streamMs } }
}

/** The pause: workload frozen, guest stopped, disks at their point, and both let go again by `begin`. */
async function standStill(options: BackgroundCaptureOptions, begin: () => Promise<void>) {
  const { qemu, workload, signal } = options
  await using revert = new Revert()
  const freezeStartMs = performance.now()
  revert.add('thaw', () => workload.thaw())
  await workload.freeze(signal)
  const pauseStartMs = performance.now()
  revert.add('continue', () => ensureRunning(qemu))
  await pauseGuest(qemu)
  faultPoint('background.paused')
  const diskStartMs = performance.now()
  await freezeDisks(qemu, options.diskLevels)
  const pauseDiskMs = performance.now() - diskStartMs
  await begin()
  const pauseMs = performance.now() - pauseStartMs
  faultPoint('background.resumed')
  revert.keep()
  await workload.thaw()
  const freezeMs = performance.now() - freezeStartMs
  return { freezeMs, pauseMs, pauseMemoryMs: pauseMs - pauseDiskMs, pauseDiskMs }
}

interface Collector {
  page(offsetBytes: number, data: Buffer | undefined): void
  finish(): CapturedMemory
  drop(): void
}

function collectorOf({ into, base, memoryBytes, streamBytes, keptBytes }: BackgroundCaptureOptions): Collector {
  const sizes = { sizeBytes: memoryBytes, expectedBytes: streamBytes + keptBytes }
  if (into.kind === 'base') {
    const pages = new BaseCollector(into.id, sizes)
    return {
      page: (offsetBytes, data) => pages.page(offsetBytes, data),
      finish: () => ({ kind: 'base', base: pages.finish() }),
      drop: () => pages[Symbol.dispose](),
    }
  }
  if (base === undefined) throw new RametError('INTERNAL', { message: 'a delta needs a base' })
  const pages = new DeltaCollector(base, sizes)
  return {
    page: (offsetBytes, data) => pages.page(offsetBytes, data),
    finish: () => ({ kind: 'delta', delta: pages.finish() }),
    drop: () => {},
  }
}
