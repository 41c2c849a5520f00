import { assert } from '../../shared/assert.ts'

/**
 * Blocks that were decompressed, by content. It may forget any of them at any time: whoever asks must be able to do
 * without, and never relies on what it has put there.
 */
export interface BlockCache {
  get(key: string): Buffer | undefined
  put(key: string, bytes: Buffer): void
}

/** Keeps those used last, up to a number of bytes. */
export class LruBlockCache implements BlockCache {
  readonly #maxBytes: number
  /** oldest first */
  readonly #blocks = new Map<string, Buffer>()
  #heldBytes = 0

  constructor(maxBytes: number) {
    assert(maxBytes >= 0, 'a cache has a size')
    this.#maxBytes = maxBytes
  }

  get heldBytes(): number {
    return this.#heldBytes
  }

  get(key: string): Buffer | undefined {
    const bytes = this.#blocks.get(key)
    if (bytes === undefined) return undefined
    this.#blocks.delete(key)
    this.#blocks.set(key, bytes)
    return bytes
  }

  put(key: string, bytes: Buffer): void {
    this.#heldBytes += bytes.length - (this.#blocks.get(key)?.length ?? 0)
    this.#blocks.delete(key)
    this.#blocks.set(key, bytes)
    for (const [oldest, { length }] of this.#blocks) {
      if (this.#heldBytes <= this.#maxBytes) break
      this.#blocks.delete(oldest)
      this.#heldBytes -= length
    }
  }
}
