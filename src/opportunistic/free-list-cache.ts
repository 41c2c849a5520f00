import type { FramePool } from './frame-pool.ts'
import { SlotCache } from './slot-cache.ts'

export interface FreeListCacheOptions {
  pool: FramePool
  /** frames of the pool that this consumer may hold at the same time; all of them when left out */
  maxFrames?: number
}

/**
 * A consumer of a pool of frames: each block in a frame that is on the free list at the same time. A block gives way to
 * any other allocation of the pool when its frame's turn has come, and to this cache's own blocks at its cap.
 */
export class FreeListCache extends SlotCache {
  readonly kind = 'free-list'
  readonly #pool: FramePool
  /** slot of the block that was put first, while all slots are filled */
  #oldest = 0

  constructor({ pool, maxFrames = pool.frameCount }: FreeListCacheOptions) {
    super(pool.frameBytes, Math.min(maxFrames, pool.frameCount))
    this.#pool = pool
  }

  /** The frames are the pool's. */
  giveBack(): number {
    return 0
  }

  protected copySlot(_slot: number, ownAt: number, length: number, into: Buffer, at: number): boolean {
    return this.#pool.read(this.records, ownAt, into, at, length)
  }

  protected fillSlot(_slot: number, ownAt: number, bytes: Uint8Array): boolean {
    const frame = this.#pool.take()
    if (frame < 0) return false
    this.#pool.write(frame, bytes)
    this.#pool.publish(frame, this.records, ownAt)
    return true
  }

  protected emptySlot(_slot: number, ownAt: number): void {
    this.#pool.giveUp(this.records, ownAt)
  }

  /** In turn, as in the pool, and with its second chances. */
  protected victim(): number {
    for (let chances = this.#pool.shared.secondChances; ; chances -= 1) {
      const slot = this.#oldest
      this.#oldest = (slot + 1) % this.slotCount
      if (chances <= 0 || !this.#pool.useChance(this.records, this.ownAt(slot))) return slot
    }
  }

  protected takeable(heldBytes: number): number {
    return heldBytes
  }

  protected release(): void {}
}
