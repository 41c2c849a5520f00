import type { KernelArena } from './kernel-arena.ts'
import { SlotCache } from './slot-cache.ts'

/**
 * A cache in memory that the kernel may take for anybody. Among its own blocks, when all slots are filled, one that was
 * not read since it was last passed over gives way; which pages the kernel takes is its own affair.
 */
export class ArenaCache extends SlotCache {
  readonly kind = 'kernel'
  readonly #arena: KernelArena
  #hand = 0

  constructor(arena: KernelArena) {
    super(arena.slotBytes, arena.slotCount)
    this.#arena = arena
  }

  /** Releases what was put last, if it waits for more. */
  settle(): void {
    this.#arena.settle()
  }

  /** Several times cheaper for each page than having the kernel take them while somebody waits. */
  giveBack(bytes: number): number {
    const slots: number[] = []
    const wanted = Math.ceil(bytes / this.blockBytes)
    // Twice around at the most: the first time may only use up what was read.
    for (let steps = this.slotCount * 2; steps > 0 && slots.length < wanted; steps -= 1) {
      const slot = this.#pass()
      if (slot < 0 || !this.isFilled(slot)) continue
      this.replace(slot)
      slots.push(slot)
    }
    this.#arena.drop(slots)
    return slots.length * this.blockBytes
  }

  protected copySlot(slot: number, ownAt: number, length: number, into: Buffer, at: number): boolean {
    return this.#arena.read(slot, length, this.records, ownAt, into, at)
  }

  protected fillSlot(slot: number, ownAt: number, bytes: Uint8Array): boolean {
    this.#arena.fill(slot, bytes, this.records, ownAt)
    return true
  }

  /** Its pages are free already. */
  protected emptySlot(): void {}

  protected victim(): number {
    for (;;) {
      const slot = this.#pass()
      if (slot >= 0) return slot
    }
  }

  /** Looks at the next slot. @returns it, or -1 when it is passed over this time: that it was read is not written into the page, where it would cancel the release */
  #pass(): number {
    const slot = this.#hand
    this.#hand = (slot + 1) % this.slotCount
    return this.isFilled(slot) && this.useTouch(slot) ? -1 : slot
  }

  protected takeable(heldBytes: number): number {
    return heldBytes
  }

  protected release(): void {
    this.#arena.close()
  }
}
