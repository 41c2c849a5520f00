/** Single pages of a base on disk, for memory that is put together from it page by page. */
import { assert } from '../shared/assert.ts'
import { limits } from '../shared/limits.ts'
import { pageBytes } from './base.ts'
import { blockBytes, blockLength, contentDigest } from './base-manifest.ts'
import { openStoredBase, type StoredBase, type StoredBaseIdentity } from './stored-base.ts'

export interface StoredBasePagesOptions extends StoredBaseIdentity {
  /** blocks that are kept once they were checked, 1 MiB each; default `limits.storedBaseCacheCount` */
  readonly cacheCount?: number
}

/**
 * Reads pages of a stored base. A page is handed out only from a block that matches its checksum: the whole block is read for
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
  /** checksum of each block that is not all zeros */
  readonly #digests: ReadonlyMap<number, string>
  /** checked blocks and those that are being read, the one that was used last at the end */
  readonly #blocks = new Map<number, Promise<Buffer>>()

  private constructor(base: StoredBase, cacheCount: number) {
    assert(cacheCount > 0, 'room for a block')
    const { manifest } = base
    this.id = manifest.id
    this.digest = contentDigest(manifest)
    this.pageCount = manifest.sizeBytes / pageBytes
    this.#base = base
    this.#sizeBytes = manifest.sizeBytes
    this.#cacheCount = cacheCount
    this.#digests = new Map(manifest.blocks)
  }

  /** @throws RametError `NOT_FOUND`, `BASE_DAMAGED` also when it is another base than the one meant */
  static async open(path: string, options: StoredBasePagesOptions = {}): Promise<StoredBasePages> {
    return new StoredBasePages(await openStoredBase(path, options), options.cacheCount ?? limits.storedBaseCacheCount)
  }

  /**
   * Fills `into`, a page long.
   *
   * @throws RametError `BASE_DAMAGED` when the block that the page is in does not match its checksum
   */
  async read(page: number, into: Buffer): Promise<void> {
    assert(Number.isInteger(page) && page >= 0 && page < this.pageCount, 'a page of this base')
    const index = Math.floor((page * pageBytes) / blockBytes)
    const digest = this.#digests.get(index)
    if (digest === undefined) return void into.fill(0)
    const block = await this.#blockOf(index, digest)
    const start = page * pageBytes - index * blockBytes
    block.copy(into, 0, start, start + pageBytes)
  }

  /** Reads that are still under way fail. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#blocks.clear()
    await this.#base[Symbol.asyncDispose]()
  }

  /** Whoever asks for a block that somebody else waits for waits with them. */
  #blockOf(index: number, digest: string): Promise<Buffer> {
    const known = this.#blocks.get(index)
    const block = known ?? this.#read(index, digest)
    this.#blocks.delete(index)
    this.#blocks.set(index, block)
    const [oldest] = this.#blocks.keys()
    if (this.#blocks.size > this.#cacheCount && oldest !== undefined) this.#blocks.delete(oldest)
    return block
  }

  async #read(index: number, digest: string): Promise<Buffer> {
    const block = Buffer.allocUnsafeSlow(blockLength(index, this.#sizeBytes))
    try {
      await this.#base.readBlock(index, digest, block)
      return block
    } catch (error) {
      // It may have been put right when it is asked for again.
      this.#blocks.delete(index)
      throw error
    }
  }
}
