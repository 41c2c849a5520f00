/** Reading a checkpoint file: header and index first, then any part alone. Nothing is handed out unchecked. */
import { pageBytes } from '../../memory/base.ts'
import type { PageMap as LocalityMap } from '../../memory/page-tables/page-map.ts'
import type { PageRun } from '../../qemu/migration-stream/encode.ts'
import { assert } from '../../shared/assert.ts'
import { RametError } from '../../shared/errors.ts'
import { formatBytes, limits } from '../../shared/limits.ts'
import { Bitmap } from './bitmap.ts'
import { decodeBlock } from './block.ts'
import { type BlockRange, BlockTable } from './block-table.ts'
import { damaged } from './damaged.ts'
import { decodeHeader, digestOf, type Header } from './header.ts'
import { headerBytes, type Section, type SectionKind } from './layout.ts'
import { decodeLocality } from './locality-map.ts'
import { type Manifest, parseManifest, romBytesOf } from './manifest.ts'
import { decodeNumbers } from './numbers.ts'
import { PageMap } from './page-map.ts'
import type { RangeSource } from './range-source.ts'
import { decodeSection, sectionNames } from './section.ts'

export interface OpenOptions {
  readonly signal?: AbortSignal
  /** that the file must have, in hex, where somebody wrote it down */
  readonly digest?: string
  /** more than this is refused before anything is allocated for it; what the host has, for a file from elsewhere */
  readonly maxMemoryBytes?: number
}

/** A block by itself: where it is, how long it becomes, and what it must match. */
export interface BlockSeal extends BlockRange {
  readonly rawBytes: number
  /** beginning of the SHA-256 of the stored bytes */
  readonly digest: Buffer
  /** for messages */
  readonly file: string
}

/** An open checkpoint file. Its source belongs to whoever opened that. */
export class Checkpoint {
  readonly manifest: Manifest
  readonly pages: PageMap
  /** SHA-256 that stands for the whole file, in hex */
  readonly digest: string
  readonly #source: RangeSource
  readonly #header: Header
  readonly #table: BlockTable

  private constructor(source: RangeSource, header: Header, digest: string, index: Index) {
    this.#source = source
    this.#header = header
    this.digest = digest
    this.manifest = index.manifest
    this.pages = index.pages
    this.#table = index.table
  }

  /**
   * Two reads: the header, and the end of the file with manifest, page maps and block table.
   *
   * @throws RametError `CHECKPOINT_DAMAGED`, `CHECKPOINT_UNFIT` for another version; what the source throws
   */
  static async open(source: RangeSource, options: OpenOptions = {}): Promise<Checkpoint> {
    const { name } = source
    const start = await source.readRange(0, headerBytes, options.signal)
    const header = decodeHeader(start, name)
    if (source.sizeBytes !== undefined && source.sizeBytes !== header.fileBytes)
      throw damaged(name, 'file', `has ${source.sizeBytes} bytes instead of ${header.fileBytes}`)
    if (header.memoryBytes > (options.maxMemoryBytes ?? limits.memoryMaxBytes)) throw tooLarge(name, header.memoryBytes)
    const digest = digestOf(start).toString('hex')
    if (options.digest !== undefined && options.digest !== digest)
      throw damaged(name, 'file', `is another checkpoint than the one with digest ${options.digest}`)
    const indexAt = sectionOf(header, 'manifest').offsetBytes
    const tail = await source.readRange(indexAt, header.fileBytes - indexAt, options.signal)
    return new Checkpoint(source, header, digest, decodeIndex(header, tail, indexAt, name))
  }

  /** Where a block is in the file; neighbours follow one another, so several can be read at once. */
  rangeOf(block: number): BlockRange {
    return this.#table.rangeOf(block)
  }

  /** What `decodeBlock` of `block.ts` needs, for another thread. */
  sealOf(block: number): BlockSeal {
    const rawBytes = this.pages.pagesOf(block).length * pageBytes
    return { ...this.#table.rangeOf(block), rawBytes, digest: this.#table.digestOf(block), file: this.#source.name }
  }

  /**
   * Reads a block.
   *
   * @returns the pages of `pages.pagesOf(block)`, one after another
   * @throws RametError `CHECKPOINT_DAMAGED` before any byte of it is given; what the source throws
   */
  async readBlock(block: number, signal?: AbortSignal): Promise<Buffer> {
    const { offsetBytes, storedBytes } = this.#table.rangeOf(block)
    return this.decodeBlock(block, await this.#source.readRange(offsetBytes, storedBytes, signal))
  }

  /**
   * As `readBlock`, of bytes that the caller has read by `rangeOf`.
   *
   * @throws RametError `CHECKPOINT_DAMAGED`
   */
  decodeBlock(block: number, stored: Buffer): Buffer {
    const { name } = this.#source
    if (stored.length !== this.#table.rangeOf(block).storedBytes) throw damaged(name, `block ${block}`, 'is cut off')
    const rawBytes = this.pages.pagesOf(block).length * pageBytes
    return decodeBlock(stored, rawBytes, this.#table.digestOf(block), block, name)
  }

  /** @throws RametError `CHECKPOINT_DAMAGED`; what the source throws */
  async readDeviceState(signal?: AbortSignal): Promise<Buffer> {
    return this.#readSection('devices', signal)
  }

  /** @throws RametError `CHECKPOINT_DAMAGED`; what the source throws */
  async readRoms(signal?: AbortSignal): Promise<PageRun[]> {
    const bytes = await this.#readSection('roms', signal)
    let end = 0
    return this.manifest.ramBlocks
      .filter(({ content }) => content === 'rom')
      .map(({ name, usedBytes }) => {
        end += usedBytes
        return { block: name, offsetBytes: 0, data: bytes.subarray(end - usedBytes, end) }
      })
  }

  /**
   * Where pages lie in the guest's processes. Nothing else depends on it: who cannot read it goes by physical order.
   *
   * @returns undefined when the file has none: no page tables were found in the guest, or they map too much
   * @throws RametError `CHECKPOINT_DAMAGED`; what the source throws
   */
  async readLocality(signal?: AbortSignal): Promise<LocalityMap | undefined> {
    const bytes = await this.#readSection('locality', signal)
    if (bytes.length === 0) return undefined
    const wrong = (why: string) => damaged(this.#source.name, sectionNames.locality, why)
    return decodeLocality(bytes, this.pages.pageCount, wrong)
  }

  async #readSection(kind: SectionKind, signal: AbortSignal | undefined): Promise<Buffer> {
    const section = sectionOf(this.#header, kind)
    const stored = await this.#source.readRange(section.offsetBytes, section.storedBytes, signal)
    return decodeSection(section, stored, this.#source.name)
  }
}

function tooLarge(name: string, memoryBytes: number): RametError {
  return new RametError('CHECKPOINT_UNFIT', {
    message: `${name} is of a vm with ${formatBytes(memoryBytes)} of memory, more than there is here`,
    remediation: 'Restore it on a host with more memory.',
    details: { checkpoint: name, memoryBytes },
  })
}

interface Index {
  readonly manifest: Manifest
  readonly pages: PageMap
  readonly table: BlockTable
}

/** @param tail of the file, from the offset `tailAt` on */
function decodeIndex(header: Header, tail: Buffer, tailAt: number, file: string): Index {
  const read = (kind: SectionKind): Buffer => {
    const section = sectionOf(header, kind)
    const start = section.offsetBytes - tailAt
    return decodeSection(section, tail.subarray(start, start + section.storedBytes), file)
  }
  const manifest = parseManifest(read('manifest'), file)
  const pageCount = header.memoryBytes / pageBytes
  const { blockPages } = header
  const zero = new Bitmap(pageCount, read('zeroMap'))
  const base = new Bitmap(pageCount, read('baseMap'))
  const pages = new PageMap({ pageCount, blockPages, zero, base, order: decodeNumbers(read('order')) }, file)
  const endBytes = sectionOf(header, 'devices').offsetBytes
  const rawBytesOf = (block: number) => pages.pagesOf(block).length * pageBytes
  const table = new BlockTable(read('blocks'), endBytes, rawBytesOf, file)
  checkAgreement(manifest, header, pages, file)
  return { manifest, pages, table }
}

/** What is said twice must be said alike, or a reader of one would act against the other. */
function checkAgreement(manifest: Manifest, header: Header, pages: PageMap, file: string): void {
  const { counts, machine, ramBlocks } = manifest
  const agrees =
    machine.memoryBytes === header.memoryBytes &&
    counts.pages === pages.pageCount &&
    counts.zero === pages.zeroCount &&
    counts.base === pages.baseCount &&
    counts.stored === pages.storedCount &&
    counts.blocks === pages.blockCount &&
    counts.storedBytes === sectionOf(header, 'devices').offsetBytes - headerBytes &&
    romBytesOf(ramBlocks) === sectionOf(header, 'roms').rawBytes
  if (!agrees) throw damaged(file, sectionNames.manifest, 'tells of other contents than the file has')
}

function sectionOf(header: Header, kind: SectionKind): Section {
  const section = header.sections.find((candidate) => candidate.kind === kind)
  assert(section !== undefined, 'a decoded header has every section')
  return section
}
