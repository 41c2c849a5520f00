/** The section `blocks`: length and checksum of each block. They lie back to back from the header on. */
import { assert } from '../../shared/assert.ts'
import { damaged } from './damaged.ts'
import { blockDigestBytes, blockEntryBytes, headerBytes } from './layout.ts'

/** Where a block is in the file. */
export interface BlockRange {
  readonly offsetBytes: number
  readonly storedBytes: number
}

/** Grows a table while blocks are written. */
export class BlockTableWriter {
  #bytes = Buffer.allocUnsafe(1024 * blockEntryBytes)
  #count = 0

  add(storedBytes: number, digest: Uint8Array): void {
    assert(digest.length === blockDigestBytes, 'a checksum of the right length')
    const start = this.#count * blockEntryBytes
    if (start === this.#bytes.length) this.#bytes = Buffer.concat([this.#bytes, Buffer.allocUnsafe(start)])
    this.#bytes.writeUInt32LE(storedBytes, start)
    this.#bytes.set(digest, start + 4)
    this.#count += 1
  }

  get count(): number {
    return this.#count
  }

  take(): Buffer {
    return this.#bytes.subarray(0, this.#count * blockEntryBytes)
  }
}

export class BlockTable {
  readonly #bytes: Buffer
  /** offset of each block, and behind the last one the end */
  readonly #offsets: Float64Array

  /**
   * @param bytes of the section
   * @param endBytes where the blocks must end: the first section's offset
   * @param rawBytesOf length of a block before compression
   * @throws RametError `CHECKPOINT_DAMAGED`
   */
  constructor(bytes: Buffer, endBytes: number, rawBytesOf: (block: number) => number, file: string) {
    const count = bytes.length / blockEntryBytes
    this.#bytes = bytes
    this.#offsets = new Float64Array(count + 1)
    let end = headerBytes
    for (let block = 0; block < count; block += 1) {
      const storedBytes = bytes.readUInt32LE(block * blockEntryBytes)
      if (storedBytes === 0 || storedBytes > rawBytesOf(block))
        throw damaged(file, 'block table', `gives block ${block} an impossible length`)
      this.#offsets[block] = end
      end += storedBytes
    }
    this.#offsets[count] = end
    if (end !== endBytes) throw damaged(file, 'block table', 'gives the blocks another length than they have')
  }

  get count(): number {
    return this.#offsets.length - 1
  }

  rangeOf(block: number): BlockRange {
    assert(Number.isInteger(block) && block >= 0 && block < this.count, 'a block of this file')
    const offsetBytes = this.#offsets[block] ?? 0
    return { offsetBytes, storedBytes: (this.#offsets[block + 1] ?? 0) - offsetBytes }
  }

  digestOf(block: number): Buffer {
    const start = block * blockEntryBytes + 4
    return this.#bytes.subarray(start, start + blockDigestBytes)
  }
}
