import { assert } from '../../shared/assert.ts'
import {
  pageBytes,
  ramFlag,
  ramSectionId,
  ramSectionName,
  ramSectionVersion,
  sectionType,
  streamHeader,
} from './wire.ts'

export interface BlockLength {
  readonly name: string
  readonly usedBytes: number
}

/** Neighbouring pages of one block. */
export interface PageRun {
  readonly block: string
  /** from the start of the block, page aligned */
  readonly offsetBytes: number
  /** whole pages */
  readonly data: Buffer
}

export interface StreamParts {
  /** versioned machine type */
  readonly machine: string
  readonly blocks: readonly BlockLength[]
  /** what the loading QEMU does not have already: delta pages and ROMs */
  readonly pages: Iterable<PageRun>
  /** device sections as `extractDeviceBlob` gives them */
  readonly deviceBlob: Buffer
}

/** Small writes are gathered into chunks of about this size. */
const chunkBytes = 256 * 1024

const zeroPage = Buffer.alloc(pageBytes)

/**
 * An ordinary (not postcopy) migration stream, in chunks. A page that is all zero costs nine bytes, and
 * the loading QEMU does not touch it when it reads as zero there already.
 */
export function* encodeStream(parts: StreamParts): Generator<Buffer> {
  yield encodeHead(parts.machine, parts.blocks)
  yield* encodePages(parts.pages, parts.blocks)
  yield parts.deviceBlob
  // QEMU expects a description after the end and complains in its log when there is none.
  yield Buffer.from([sectionType.eof, sectionType.vmDescription, 0, 0, 0, 2, 0x7b, 0x7d])
}

/** Header, bare configuration, and the RAM section's start with its block list. */
export function encodeHead(machine: string, blocks: readonly BlockLength[]): Buffer {
  const totalBytes = blocks.reduce((sum, block) => sum + block.usedBytes, 0)
  return Buffer.concat([
    streamHeader,
    u8(sectionType.configuration),
    u32(Buffer.byteLength(machine)),
    Buffer.from(machine),
    u8(sectionType.start),
    u32(ramSectionId),
    name(ramSectionName),
    u32(0),
    u32(ramSectionVersion),
    u64(totalBytes + ramFlag.memSize),
    ...blocks.flatMap((block) => [name(block.name), u64(block.usedBytes)]),
    endOfRecords,
    footer,
  ])
}

/** The RAM section's end, which here carries all pages. */
export function* encodePages(runs: Iterable<PageRun>, blocks: readonly BlockLength[]): Generator<Buffer> {
  const lengths = new Map(blocks.map((block) => [block.name, block.usedBytes]))
  const writer = new ChunkWriter()
  writer.add(u8(sectionType.end))
  writer.add(u32(ramSectionId))
  let previous: string | undefined
  for (const run of runs) {
    checkRun(run, lengths)
    for (let at = 0; at < run.data.length; at += pageBytes) {
      const page = run.data.subarray(at, at + pageBytes)
      const isZero = page.equals(zeroPage)
      const sameBlock = run.block === previous
      const flags = (isZero ? ramFlag.zero : ramFlag.page) + (sameBlock ? ramFlag.continue : 0)
      writer.add(u64(run.offsetBytes + at + flags))
      if (!sameBlock) writer.add(name(run.block))
      writer.add(isZero ? u8(0) : page)
      previous = run.block
      if (writer.isFull) yield writer.take()
    }
  }
  writer.add(endOfRecords)
  writer.add(footer)
  yield writer.take()
}

function checkRun(run: PageRun, lengths: ReadonlyMap<string, number>): void {
  const usedBytes = lengths.get(run.block)
  assert(usedBytes !== undefined, `pages of the unlisted block ${run.block}`)
  const aligned = run.offsetBytes % pageBytes === 0 && run.data.length % pageBytes === 0
  assert(aligned && run.offsetBytes >= 0, 'whole pages at page boundaries')
  assert(run.offsetBytes + run.data.length <= usedBytes, `pages beyond the end of ${run.block}`)
}

/** Copies many small pieces into few large buffers: a socket write each would cost more than the copy. */
class ChunkWriter {
  #chunk = Buffer.allocUnsafeSlow(chunkBytes + 2 * pageBytes)
  #length = 0

  get isFull(): boolean {
    return this.#length >= chunkBytes
  }

  add(bytes: Buffer): void {
    bytes.copy(this.#chunk, this.#length)
    this.#length += bytes.length
  }

  take(): Buffer {
    const taken = this.#chunk.subarray(0, this.#length)
    this.#chunk = Buffer.allocUnsafeSlow(chunkBytes + 2 * pageBytes)
    this.#length = 0
    return taken
  }
}

function u8(value: number): Buffer {
  return Buffer.from([value])
}

function u32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4)
  bytes.writeUInt32BE(value)
  return bytes
}

/** Safe up to 2^53, far beyond any guest's memory. */
function u64(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(8)
  bytes.writeUInt32BE(Math.floor(value / 2 ** 32), 0)
  bytes.writeUInt32BE(value % 2 ** 32, 4)
  return bytes
}

function name(text: string): Buffer {
  const bytes = Buffer.from(text)
  assert(bytes.length > 0 && bytes.length <= 255, 'a name of 1 to 255 bytes')
  return Buffer.concat([u8(bytes.length), bytes])
}

const endOfRecords = u64(ramFlag.eos)
const footer = Buffer.concat([u8(sectionType.footer), u32(ramSectionId)])
