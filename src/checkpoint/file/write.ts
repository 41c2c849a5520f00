/** Writing a checkpoint file. It is whole under its name, or not there; once there it never changes. */
import type { FileHandle } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { createWhole, type NewFileOptions } from '../../disk/files.ts'
import { pageBytes } from '../../memory/base.ts'
import type { CopyOptions } from '../../memory/capture.ts'
import type { PageMap } from '../../memory/page-tables/page-map.ts'
import { nodeNames } from '../../qemu/machine.ts'
import type { MachineDescription } from '../../qemu/machine-description.ts'
import type { PageRun } from '../../qemu/migration-stream/encode.ts'
import type { RamBlock } from '../../qemu/ram-blocks.ts'
import { assert } from '../../shared/assert.ts'
import { faultPoint } from '../../shared/fault.ts'
import { limits } from '../../shared/limits.ts'
import { rametVersion } from '../../shared/version.ts'
import { Bitmap } from './bitmap.ts'
import { Compressors } from './compressors.ts'
import { digestOf, encodeHeader } from './header.ts'
import { headerBytes, type Section, sectionKinds } from './layout.ts'
import { encodeLocality } from './locality-map.ts'
import { type BaseReference, type Manifest, type ManifestBlock, type PageCounts, parseManifest } from './manifest.ts'
import { encodeNumbers } from './numbers.ts'
import type { PageSource } from './page-source.ts'
import { encodeSection } from './section.ts'
import { writeFully } from './write-fully.ts'
import { PageWriter, type WrittenPages } from './write-pages.ts'

export interface CheckpointParts {
  readonly machine: MachineDescription
  /** by QEMU's names */
  readonly cpuFeatures: readonly string[]
  readonly qemuVersion: string
  readonly createdAt: Date
  /** all that QEMU carries in a migration */
  readonly ramBlocks: readonly RamBlock[]
  /** device sections as `saveDeviceState` gives them */
  readonly deviceState: Buffer
  /** whole blocks, as `readRomPages` gives them */
  readonly roms: readonly PageRun[]
  /** what pages may be equal to */
  readonly base?: BaseReference
  readonly order: {
    readonly kind: 'virtual' | 'physical'
    readonly reason: string
    /** every page of guest RAM once */
    readonly pages: Uint32Array
  }
  /** where pages lie in the guest's processes, for those who prefetch; a hint, left out when it is too long */
  readonly locality?: PageMap
  readonly pages: PageSource
}

export interface WriteOptions extends CopyOptions, NewFileOptions {
  /** threads that compress */
  readonly workerCount?: number
  readonly blockPages?: number
}

export interface WrittenCheckpoint {
  /** SHA-256 that stands for the whole file, in hex */
  readonly digest: string
  readonly fileBytes: number
  readonly counts: PageCounts
}

/** The order in which pages lie in guest RAM. */
export function physicalOrder(pageCount: number): Uint32Array {
  return Uint32Array.from({ length: pageCount }, (_, page) => page)
}

/**
 * Writes a checkpoint file, readable by its owner only unless `mode` says otherwise.
 *
 * @throws RametError `NO_SPACE` with nothing left behind; whatever the page source throws; the signal's reason
 */
export async function writeCheckpoint(
  path: string,
  parts: CheckpointParts,
  options: WriteOptions = {},
): Promise<WrittenCheckpoint> {
  options.signal?.throwIfAborted()
  const blockPages = options.blockPages ?? limits.checkpointBlockPages
  assert(blockPages > 0 && blockPages <= limits.checkpointBlockMaxPages, 'blocks of a possible size')
  checkParts(parts)
  const workerCount = options.workerCount ?? Math.min(availableParallelism(), limits.checkpointWorkerCount)
  return createWhole(path, { mode: 0o400, ...options }, async (handle) => {
    await using compressors = new Compressors(workerCount, blockPages * pageBytes)
    const writer = new PageWriter(handle, compressors, blockPages)
    const pages = await writer.write(parts.pages, parts.order.pages, options)
    faultPoint('checkpoint.sections')
    return writeRest(handle, parts, pages, blockPages)
  })
}

/** Each page once, or memory would be lost without anybody noticing. */
function checkParts({ order, machine, base, roms, ramBlocks, locality }: CheckpointParts): void {
  const seen = new Bitmap(machine.memoryBytes / pageBytes)
  assert(order.pages.length === seen.length, 'an order of as many pages as there are')
  for (const page of order.pages) {
    assert(page < seen.length && !seen.get(page), 'an order that has each page once')
    seen.set(page)
  }
  for (const rom of roms) {
    const block = ramBlocks.find(({ name }) => name === rom.block)
    assert(rom.offsetBytes === 0 && rom.data.length === block?.usedBytes, `the whole of ${rom.block}`)
  }
  assert(base === undefined || base.id.length > 0, 'a base with an id')
  assert(locality === undefined || locality.arrays.pageCount === seen.length, 'a locality map of this memory')
}

async function writeRest(
  handle: FileHandle,
  parts: CheckpointParts,
  pages: WrittenPages,
  blockPages: number,
): Promise<WrittenCheckpoint> {
  const manifest = describe(parts, pages)
  const contents = {
    devices: parts.deviceState,
    roms: Buffer.concat(romsInOrder(manifest.ramBlocks, parts.roms)),
    locality: encodeLocality(parts.locality),
    manifest: Buffer.from(`${JSON.stringify(manifest, undefined, 2)}\n`),
    zeroMap: pages.zero.bytes,
    baseMap: pages.base.bytes,
    order: encodeNumbers(pages.order),
    blocks: pages.table.take(),
  }
  // What this would refuse to read is not written in the first place.
  parseManifest(contents.manifest, 'checkpoint')
  const sections: Section[] = []
  let end = pages.endBytes
  for (const kind of sectionKinds) {
    const { section, stored } = encodeSection(kind, contents[kind], end)
    await writeFully(handle, stored, end)
    sections.push(section)
    end += stored.length
  }
  const header = encodeHeader({ fileBytes: end, memoryBytes: parts.machine.memoryBytes, blockPages, sections })
  assert(header.length === headerBytes, 'a header that leaves the blocks where they are')
  await writeFully(handle, header, 0)
  return { digest: digestOf(header).toString('hex'), fileBytes: end, counts: manifest.counts }
}

function describe(parts: CheckpointParts, pages: WrittenPages): Manifest {
  const baseCount = pages.base.count()
  assert(baseCount === 0 || parts.base !== undefined, 'pages of a base only where there is one')
  return {
    format: 'ramet-checkpoint',
    createdAt: parts.createdAt.toISOString(),
    rametVersion,
    qemuVersion: parts.qemuVersion,
    machine: parts.machine,
    cpuFeatures: [...parts.cpuFeatures].sort(),
    pageBytes,
    ramBlocks: parts.ramBlocks.map(({ name, usedBytes }) => ({ name, usedBytes, content: contentOf(name, parts) })),
    order: { kind: parts.order.kind, reason: parts.order.reason },
    base: parts.base ?? null,
    counts: {
      pages: pages.zero.length,
      zero: pages.zero.count(),
      base: baseCount,
      stored: pages.order.length,
      blocks: pages.table.count,
      storedBytes: pages.endBytes - headerBytes,
    },
  }
}

function contentOf(name: string, { roms }: CheckpointParts): ManifestBlock['content'] {
  if (name === nodeNames.memory) return 'pages'
  return roms.some(({ block }) => block === name) ? 'rom' : 'none'
}

/** In the order of the manifest's list, by which they are found again. */
function romsInOrder(blocks: readonly ManifestBlock[], roms: readonly PageRun[]): Buffer[] {
  return blocks.flatMap(({ name }) => roms.filter(({ block }) => block === name).map(({ data }) => data))
}
