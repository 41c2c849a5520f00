import type { Key, OpportunisticCache } from '../../src/opportunistic/cache.ts'

/** A cache that keeps in mind which blocks it was used for, in order: those found in it, and those put since they were not. */
export class TracingCache implements OpportunisticCache {
  readonly #cache: OpportunisticCache
  #keys: Key[] = []

  /** @param cache with room for everything, so that a block is put once */
  constructor(cache: OpportunisticCache) {
    this.#cache = cache
  }

  get kind() {
    return this.#cache.kind
  }

  get blockBytes() {
    return this.#cache.blockBytes
  }

  /** What was used since this was asked last. */
  take(): Key[] {
    const keys = this.#keys
    this.#keys = []
    return keys
  }

  has(key: Key): boolean {
    return this.#cache.has(key)
  }

  /** A miss is kept in mind when the block is put: several may ask for it while it is decompressed. */
  read(key: Key, into: Buffer, at?: number): number | undefined {
    const length = this.#cache.read(key, into, at)
    if (length !== undefined) this.#keys.push(key)
    return length
  }

  put(key: Key, bytes: Uint8Array): boolean {
    this.#keys.push(key)
    return this.#cache.put(key, bytes)
  }

  drop(key: Key): void {
    this.#cache.drop(key)
  }

  /** Keeps everything: what fits into less is found out from the trace. */
  giveBack(): number {
    return 0
  }

  figures() {
    return this.#cache.figures()
  }

  close(): void {
    this.#cache.close()
  }
}
