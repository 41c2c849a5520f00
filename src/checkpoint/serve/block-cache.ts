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
  #fillsWithoutRoom = 0

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

  /**
   * Keeps what somebody waited for, or is expected to. The copy is made when everybody has been answered who waits in this
   * turn of the event loop: memory that is touched for the first time makes it cost half as much as decompressing.
   */
  put(key: string, raw: Buffer): void {
    this.#keepHot(key, raw)
    setImmediate(() => this.#cache.put(key, raw))
  }

  /**
   * Keeps a block of the fill, which asks for all of a file in the same order each time: where that is more than there is room
   * for, each would push out what the next fill asks for before it comes to it. So only a few make others give way, by
   * which what nobody restores any more is replaced in the end.
   */
  putOfFill(key: string, raw: Buffer): void {
    const { heldBytes, capacityBytes } = this.#cache.figures()
    if (heldBytes + this.#cache.blockBytes <= capacityBytes) this.#cache.put(key, raw)
    else {
      this.#fillsWithoutRoom += 1
      if (this.#fillsWithoutRoom % limits.pageServerFillPutEvery === 0) this.#cache.put(key, raw)
    }
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
