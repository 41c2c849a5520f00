/** Writing the blocks of a checkpoint file: read, sort out, compress, write, each while the others go on. */
import type { FileHandle } from 'node:fs/promises'
import { setImmediate as breathe } from 'node:timers/promises'
import { pageBytes } from '../../memory/base.ts'
import type { CopyOptions } from '../../memory/capture.ts'
import { isZeroPage } from '../../memory/zero-pages.ts'
import { assert } from '../../shared/assert.ts'
import { faultPoint } from '../../shared/fault.ts'
import { limits } from '../../shared/limits.ts'
import { Bitmap } from './bitmap.ts'
import { BlockTableWriter } from './block-table.ts'
import type { CompressedBlock, Compressors } from './compressors.ts'
import { headerBytes } from './layout.ts'
import type { PageSource } from './page-source.ts'
import { writeFully } from './write-fully.ts'

/** What is known of the pages when all blocks are written. */
export interface WrittenPages {
  readonly zero: Bitmap
  readonly base: Bitmap
  /** pages in blocks, in file order */
  readonly order: Uint32Array
  readonly table: BlockTableWriter
  /** where the last block ends */
  readonly endBytes: number
}

export class PageWriter {
  readonly #handle: FileHandle
  readonly #compressors: Compressors
  readonly #blockPages: number
  readonly #table = new BlockTableWriter()
  /** blocks that are compressed and not yet written, oldest first */
  readonly #open: Promise<CompressedBlock>[] = []
  #endBytes = headerBytes
  #begun = 0

  constructor(handle: FileHandle, compressors: Compressors, blockPages: number) {
    this.#handle = handle
    this.#compressors = compressors
    this.#blockPages = blockPages
  }

  /**
   * Writes every page of `order`, which has each page once.
   *
   * @throws whatever the source throws; errno errors of the file; the signal's reason when aborted
   */
  async write(source: PageSource, order: Uint32Array, options: CopyOptions): Promise<WrittenPages> {
    const zero = new Bitmap(order.length)
    const base = new Bitmap(order.length)
    const stored = new Uint32Array(order.length)
    let storedCount = 0
    let slot = await this.#nextSlot()
    let filled = 0
    for (let index = 0; index < order.length; index += 1) {
      const page = order[index] ?? 0
      if (index % breathPages === 0) await this.#breathe(index, order.length, options)
      const into = slot.subarray(filled * pageBytes, (filled + 1) * pageBytes)
      const answer = source.read(page, into)
      const content = typeof answer === 'string' ? answer : await answer
      if (content === 'base') base.set(page)
      else if (content === 'zero' || isZeroPage(into, 0)) zero.set(page)
      else {
        stored[storedCount] = page
        storedCount += 1
        filled += 1
      }
      if (filled < this.#blockPages) continue
      this.#begin(filled)
      slot = await this.#nextSlot()
      filled = 0
    }
    if (filled > 0) this.#begin(filled)
    while (this.#open.length > 0) await this.#finish()
    options.onProgress?.(order.length * pageBytes, order.length * pageBytes)
    return { zero, base, order: stored.subarray(0, storedCount), table: this.#table, endBytes: this.#endBytes }
  }

  async #breathe(done: number, total: number, { signal, onProgress }: CopyOptions): Promise<void> {
    signal?.throwIfAborted()
    onProgress?.(done * pageBytes, total * pageBytes)
    // A long stretch of zeros waits for nothing else.
    await breathe()
  }

  /** The slot that is filled next. Slots are taken in turn, so the oldest block is the one that has it. */
  async #nextSlot(): Promise<Buffer> {
    while (this.#open.length >= this.#compressors.slotCount) await this.#finish()
    return this.#compressors.inputOf(this.#begun % this.#compressors.slotCount)
  }

  #begin(pageCount: number): void {
    this.#open.push(this.#compressors.compress(this.#begun % this.#compressors.slotCount, pageCount * pageBytes))
    this.#begun += 1
  }

  /** Waits for the oldest block and writes it. */
  async #finish(): Promise<void> {
    const oldest = this.#open.shift()
    assert(oldest !== undefined, 'a block is under way')
    const { stored, digest } = await oldest
    faultPoint('checkpoint.block')
    await writeFully(this.#handle, stored, this.#endBytes)
    this.#table.add(stored.length, digest)
    this.#endBytes += stored.length
  }
}

/** Looked at before anybody else has a turn: 4 MiB. */
const breathPages = limits.memoryChunkBytes / pageBytes
