/** From a captured vm to a checkpoint file, while the vm runs on. */
import { dirname } from 'node:path'
import { requireSpace } from '../../disk/space.ts'
import { pageBytes } from '../../memory/base.ts'
import { type Discovery, discoverPageTables } from '../../memory/page-tables/discover.ts'
import { localityOrder } from '../../memory/page-tables/locality.ts'
import type { MemoryImage } from '../../memory/page-tables/memory-image.ts'
import { q35Layout } from '../../memory/page-tables/physical-layout.ts'
import type { DeviceState } from '../../qemu/device-state.ts'
import type { MachineDescription } from '../../qemu/machine-description.ts'
import type { PageRun } from '../../qemu/migration-stream/encode.ts'
import { largestCheckpointBytes } from '../file/largest.ts'
import type { BaseReference, Manifest, PageCounts } from '../file/manifest.ts'
import { type CheckpointParts, type WriteOptions, writeCheckpoint } from '../file/write.ts'
import { type CapturedMemory, imageOf, SavedPages } from './captured-memory.ts'

/** One moment of a vm. */
export interface CapturedVm {
  readonly machine: MachineDescription
  readonly capturedAt: Date
  readonly deviceState: DeviceState
  /** as `readRomPages` gives them */
  readonly romPages: readonly PageRun[]
  readonly memory: CapturedMemory
  /** that `memory` is a delta over, stored on disk and kept there for as long as the checkpoint: its pages are not copied */
  readonly reference?: BaseReference | undefined
  /** `7.2.22` */
  readonly qemuVersion: string
  /** by QEMU's names; empty where they could not be asked for */
  readonly cpuFeatures: readonly string[]
}

/** What is going on: guest memory is looked through for page tables, then stored. */
export type SaveStage = 'scanning' | 'storing'

export interface SaveOptions extends Omit<WriteOptions, 'onProgress'> {
  /** bytes of guest memory, out of a total that is another one for each stage */
  readonly onProgress?: (stage: SaveStage, doneBytes: number, totalBytes: number) => void
}

export interface SavedCheckpoint {
  /** SHA-256 that stands for the whole file, in hex */
  readonly digest: string
  readonly fileBytes: number
  readonly counts: PageCounts
  /** whether pages lie by address in the guest's processes, and why */
  readonly order: Manifest['order']
  /** guest memory that is not zeros */
  readonly residentBytes: number
  readonly timings: {
    /** reading all memory once, finding page tables in it, and the order that follows from them */
    readonly scanMs: number
    /** reading it again, compressing, writing, flushing */
    readonly storeMs: number
  }
}

/**
 * Writes a checkpoint of a captured vm; whole under its name or not there.
 *
 * @throws RametError `NO_SPACE`, before anything is written when the worst case would not fit beside the reserve;
 *   the signal's reason; what reading memory throws
 */
export async function saveCheckpoint(
  path: string,
  vm: CapturedVm,
  options: SaveOptions = {},
): Promise<SavedCheckpoint> {
  const { onProgress, ...writeOptions } = options
  const { signal } = options
  const startMs = performance.now()
  const layout = q35Layout(vm.machine.memoryBytes)
  const image = imageOf(vm.memory, vm.machine.memoryBytes)
  const watched = watch(image, (doneBytes, totalBytes) => onProgress?.('scanning', doneBytes, totalBytes))
  const discovery = await discoverPageTables(watched, layout, signal === undefined ? {} : { signal })
  const { resident } = discovery
  const order = { ...orderOf(discovery), pages: wholeOrder(discovery) }
  const pages = new SavedPages({ memory: vm.memory, image, resident, refersToBase: vm.reference !== undefined })
  const locality = discovery.tables === undefined ? {} : { locality: discovery.tables.map }
  const parts = { ...partsOf(vm, order, pages), ...locality }
  await requireSpace(dirname(path), largestCheckpointBytes(parts, pages.mostStored), `the checkpoint ${path}`)
  const storeStartMs = performance.now()
  const { digest, fileBytes, counts } = await writeCheckpoint(path, parts, {
    ...writeOptions,
    onProgress: (doneBytes, totalBytes) => onProgress?.('storing', doneBytes, totalBytes),
  })
  return {
    ...{ digest, fileBytes, counts, order: { kind: order.kind, reason: order.reason } },
    residentBytes: resident.size * pageBytes,
    timings: { scanMs: storeStartMs - startMs, storeMs: performance.now() - storeStartMs },
  }
}

function partsOf(vm: CapturedVm, order: CheckpointParts['order'], pages: SavedPages): CheckpointParts {
  return {
    machine: vm.machine,
    cpuFeatures: vm.cpuFeatures,
    qemuVersion: vm.qemuVersion,
    createdAt: vm.capturedAt,
    ramBlocks: vm.deviceState.blocks,
    deviceState: vm.deviceState.blob,
    roms: vm.romPages,
    ...(vm.reference === undefined ? {} : { base: vm.reference }),
    order,
    pages,
  }
}

function orderOf({ tables, reason }: Discovery): Manifest['order'] {
  if (tables === undefined) return { kind: 'physical', reason: reason ?? 'the guest has no page tables' }
  const { spaces, levels, whole } = tables
  const found = `page tables of ${levels} levels were found, of ${spaces.length} processes`
  return {
    kind: 'virtual',
    reason: whole ? found : `${found}; there are more of them than a guest of this size can have`,
  }
}

/** Resident pages as they are to be in the file, then the others, of which nothing is in it. */
function wholeOrder({ tables, resident }: Discovery): Uint32Array {
  const order = new Uint32Array(resident.pageCount)
  order.set(localityOrder(tables?.map, resident))
  let count = resident.size
  for (let page = 0; page < resident.pageCount; page += 1) {
    if (resident.has(page)) continue
    order[count] = page
    count += 1
  }
  return order
}

/** An image that tells how much of it was read in ascending order: so it is looked through. */
function watch(image: MemoryImage, onProgress: (doneBytes: number, totalBytes: number) => void): MemoryImage {
  const totalBytes = image.data.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0)
  let doneBytes = 0
  let endBytes = 0
  return {
    ...image,
    read: (bytes, offsetBytes) => {
      image.read(bytes, offsetBytes)
      if (offsetBytes < endBytes) return
      endBytes = offsetBytes + bytes.length
      doneBytes = Math.min(doneBytes + bytes.length, totalBytes)
      onProgress(doneBytes, totalBytes)
    },
  }
}
