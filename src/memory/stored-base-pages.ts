/** Single pages of a base on disk, for memory that is put together from it page by page. */
import { assert } from '../shared/assert.ts'
import { limits } from '../shared/limits.ts'
import { pageBytes } from './base.ts'
import { blockBytes, blockLength, contentDigest } from './base-manifest.ts'
import { openStoredBase, type StoredBase, type StoredBaseIdentity } from './stored-base.ts'

/** Where checked memory of bases is kept beside the blocks that were used last. It may forget any of it at any time. */
export interface KeptPieces {
  /** length of a piece: a block is a whole number of them */
  readonly pieceBytes: number
  /** @returns memory that nobody takes away */
  take(key: string, lengthBytes: number): Buffer | undefined
  put(key: string, bytes: Buffer): void
}

export interface StoredBasePagesOptions extends StoredBaseIdentity {
  readonly kept?: KeptPieces
  /** blocks that are kept once they were checked, 1 MiB each; default `limits.storedBaseCacheCount` */
  readonly cacheCount?: number
}

/**
 * Reads pages of a stored base. A page is handed out only from a block that matched its checksum: the whole block is read for
 * it, and kept for the next ones. So those who can choose an order read neighbouring pages one after another.
 */
export class StoredBasePages implements AsyncDisposable {
  readonly id: string
  /** stands for the content: `contentDigest` */
  readonly digest: string
  readonly pageCount: number
  readonly #base: StoredBase
  readonly #sizeBytes: number
  readonly #cacheCount: number
  readonly #kept: KeptPieces | undefined
  /** checksum of each block that is not all zeros */
  readonly #digests: ReadonlyMap<number, string>
  /** checked blocks and those that are being read, the one that was used last at the end */
  readonly #blocks = new Map<number, Promise<Buffer>>()

  private constructor(base: StoredBase, { cacheCount = limits.storedBaseCacheCount, kept }: StoredBasePagesOptions) {
    assert(cacheCount > 0, 'room for a block')
    assert(kept === undefined || blockBytes % kept.pieceBytes === 0, 'a block is a whole number of pieces')
    const { manifest } = base
    this.id = manifest.id
    this.digest = contentDigest(manifest)
    this.pageCount = manifest.sizeBytes / pageBytes
    this.#base = base
    this.#sizeBytes = manifest.sizeBytes
    this.#cacheCount = cacheCount
    this.#kept = kept
    this.#digests = new Map(manifest.blocks)
  }

  /** @throws RametError `NOT_FOUND`, `BASE_DAMAGED` also when it is another base than the one meant */
  static async open(path: string, options: StoredBasePagesOptions = {}): Promise<StoredBasePages> {
    return new StoredBasePages(await openStoredBase(path, options), options)
  }

  /**
   * Fills `into`, a page long.
   *
   * @returns bytes that were read of the base for it, and for nobody before: none where it was on hand
   * @throws RametError `BASE_DAMAGED` when the block that the page is in does not match its checksum
   */
  async read(page: number, into: Buffer): Promise<number> {
    assert(Number.isInteger(page) && page >= 0 && page < this.pageCount, 'a page of this base')
    const index = Math.floor((page * pageBytes) / blockBytes)
    const digest = this.#digests.get(index)
    if (digest === undefined) {
      into.fill(0)
      return 0
    }
    const start = page * pageBytes - index * blockBytes
    const known = this.#blocks.get(index)
    if (known === undefined && this.#copyKept(page, into)) return 0
    const block = known ?? this.#read(index, digest)
    this.#use(index, block)
    const bytes = await block
    bytes.copy(into, 0, start, start + pageBytes)
    return known === undefined ? bytes.length : 0
  }

  /** Reads that are still under way fail. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#blocks.clear()
    await this.#base[Symbol.asyncDispose]()
  }

  /** Whoever asks for a block that somebody else waits for waits with them. */
  #use(index: number, block: Promise<Buffer>): void {
    this.#blocks.delete(index)
    this.#blocks.set(index, block)
    const [oldest] = this.#blocks.keys()
    if (this.#blocks.size > this.#cacheCount && oldest !== undefined) this.#blocks.delete(oldest)
  }

  #copyKept(page: number, into: Buffer): boolean {
    if (this.#kept === undefined) return false
    const { pieceBytes } = this.#kept
    const piece = Math.floor((page * pageBytes) / pieceBytes)
    const lengthBytes = Math.min(pieceBytes, this.#sizeBytes - piece * pieceBytes)
    const start = page * pageBytes - piece * pieceBytes
    return this.#kept.take(this.#keyOf(piece), lengthBytes)?.copy(into, 0, start, start + pageBytes) === pageBytes
  }

  async #read(index: number, digest: string): Promise<Buffer> {
    const block = Buffer.allocUnsafeSlow(blockLength(index, this.#sizeBytes))
    try {
      await this.#base.readBlock(index, digest, block)
    } catch (error) {
      // It may have been put right when it is asked for again.
      this.#blocks.delete(index)
      throw error
    }
    this.#keep(index, block)
    return block
  }

  #keep(index: number, block: Buffer): void {
    if (this.#kept === undefined) return
    const { pieceBytes } = this.#kept
    const first = (index * blockBytes) / pieceBytes
    for (let at = 0; at < block.length; at += pieceBytes)
      this.#kept.put(this.#keyOf(first + at / pieceBytes), block.subarray(at, at + pieceBytes))
  }

  /** By its content: bases that are alike share what is kept. */
  #keyOf(piece: number): string {
    return `base ${this.digest}/${piece}`
  }
}
