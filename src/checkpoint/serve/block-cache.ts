/** Decompressed blocks of checkpoints that were restored of late, and pieces of bases, for all restores of this server. */

import type { KeptPieces } from '../../memory/stored-base-pages.ts'
import type { OpportunisticCache } from '../../opportunistic/cache.ts'
import { limits } from '../../shared/limits.ts'

/**
 * Where blocks are kept: in a cache that may lose any of them at any time, and a few that were just used, as ordinary memory,
 * so that each page of a block is not one copy of it.
 */
export class BlockCache implements KeptPieces {
  /** the largest block that is kept; larger ones are read each time */
  readonly pieceBytes: number
  readonly #cache: OpportunisticCache
  /** oldest first */
  readonly #hot = new Map<string, Buffer>()

  constructor(cache: OpportunisticCache) {
    this.#cache = cache
    this.pieceBytes = cache.blockBytes
  }

  /** @returns a block, or a piece of a base, which is likely to be used again at once */
  take(key: string, lengthBytes: number): Buffer | undefined {
    return this.hot(key) ?? this.copy(key, lengthBytes, true)
  }

  /** @returns a block that was used just now */
  hot(key: string): Buffer | undefined {
    const raw = this.#hot.get(key)
    if (raw !== undefined) this.#keepHot(key, raw)
    return raw
  }

  /** @returns false when it is certainly not there */
  has(key: string): boolean {
    return this.#hot.has(key) || this.#cache.has(key)
  }

  /**
   * @param rawBytes length of the block
   * @param isHot more of it is likely to be wanted soon
   * @returns a copy, which nobody takes away
   */
  copy(key: string, rawBytes: number, isHot: boolean): Buffer | undefined {
    const raw = Buffer.allocUnsafeSlow(rawBytes)
    if (this.#cache.read(key, raw) !== rawBytes) return undefined
    if (isHot) this.#keepHot(key, raw)
    return raw
  }

  put(key: string, raw: Buffer, isHot = false): void {
    this.#cache.put(key, raw)
    if (isHot) this.#keepHot(key, raw)
  }

  /** For somebody who wants memory: what was just used goes too. */
  coolDown(): void {
    this.#hot.clear()
  }

  #keepHot(key: string, raw: Buffer): void {
    this.#hot.delete(key)
    this.#hot.set(key, raw)
    const [oldest] = this.#hot.keys()
    if (this.#hot.size > limits.pageServerHotBlocks && oldest !== undefined) this.#hot.delete(oldest)
  }
}
