import { assert } from '../shared/assert.ts'
import type { CacheFigures, CacheKind, Key, OpportunisticCache } from './cache.ts'
import { lengthWord, maxSlots, ownWord, RecordTable, touchedWord } from './record-table.ts'

/** What all realisations have in common: a block has a slot, a key leads to it, and what happens is counted. */
export abstract class SlotCache implements OpportunisticCache {
  abstract readonly kind: CacheKind
  readonly blockBytes: number
  readonly slotCount: number
  readonly #table: RecordTable
  /** where the realisation has three words for each block, from `ownAt` on */
  protected readonly records: Int32Array
  /** empty slots, the next one on top */
  readonly #empty: Int32Array
  #emptyCount: number
  /** slots that may be filled */
  #usableCount: number
  #closed = false
  readonly #counts = { hits: 0, misses: 0, lost: 0, puts: 0, refused: 0, replaced: 0 }

  protected constructor(blockBytes: number, slotCount: number) {
    assert(blockBytes > 0 && blockBytes % 4096 === 0, 'blocks are whole pages')
    assert(slotCount > 0 && slotCount <= maxSlots, 'a cache has slots')
    this.blockBytes = blockBytes
    this.slotCount = slotCount
    this.#table = new RecordTable(slotCount)
    this.records = this.#table.words
    this.#empty = new Int32Array(slotCount)
    for (let at = 0; at < slotCount; at += 1) this.#empty[at] = slotCount - 1 - at
    this.#emptyCount = slotCount
    this.#usableCount = slotCount
  }

  /** Copies a slot's block and says whether the copy is whole. It was filled, and `into` has room. */
  protected abstract copySlot(slot: number, ownAt: number, length: number, into: Buffer, at: number): boolean
  /** Takes the bytes into an empty slot. @returns false when there is no memory for it */
  protected abstract fillSlot(slot: number, ownAt: number, bytes: Uint8Array): boolean
  /** The slot's block is not wanted any more. */
  protected abstract emptySlot(slot: number, ownAt: number): void
  /** Which block gives way when all slots are filled; -1 when there is no slot at all. */
  protected abstract victim(): number
  /** What others can take, of so many bytes held. */
  protected abstract takeable(heldBytes: number): number
  protected abstract release(): void
  abstract giveBack(bytes: number): number

  read(key: Key, into: Buffer, at = 0): number | undefined {
    const record = this.#table.find(key)
    if (record < 0) {
      this.#counts.misses += 1
      return undefined
    }
    const slot = this.#table.slotOf(record)
    const length = this.records[record + lengthWord] as number
    assert(at >= 0 && at + length <= into.length, 'the reader has room for the block')
    this.records[record + touchedWord] = 1
    if (this.copySlot(slot, record + ownWord, length, into, at)) {
      this.#counts.hits += 1
      return length
    }
    // Whatever was copied may be somebody else's.
    into.fill(0, at, at + length)
    this.#counts.lost += 1
    this.#vacate(slot)
    return undefined
  }

  has(key: Key): boolean {
    return this.#table.find(key) >= 0
  }

  put(key: Key, bytes: Uint8Array): boolean {
    if (this.#closed || bytes.length === 0 || bytes.length > this.blockBytes) {
      this.drop(key)
      this.#counts.refused += 1
      return false
    }
    this.drop(key)
    const slot = this.#takeSlot()
    if (slot < 0 || !this.#fill(key, slot, bytes)) {
      this.#counts.refused += 1
      return false
    }
    this.#counts.puts += 1
    return true
  }

  drop(key: Key): void {
    const record = this.#table.find(key)
    if (record >= 0) this.#vacate(this.#table.slotOf(record))
  }

  figures(): CacheFigures {
    const heldBytes = (this.#usableCount - this.#emptyCount) * this.blockBytes
    return {
      heldBytes,
      freeHeldBytes: this.takeable(heldBytes),
      capacityBytes: this.#usableCount * this.blockBytes,
      ...this.#counts,
    }
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    for (let slot = 0; slot < this.slotCount; slot += 1) if (this.isFilled(slot)) this.#vacate(slot)
    this.release()
  }

  /** Where the realisation's words of a filled slot are, in `records`, until the next block is put or goes. */
  protected ownAt(slot: number): number {
    return this.#table.recordOf(slot) + ownWord
  }

  /** Whether a filled slot's block was read since this was asked last. */
  protected useTouch(slot: number): boolean {
    const at = this.#table.recordOf(slot) + touchedWord
    const wasTouched = this.records[at] === 1
    this.records[at] = 0
    return wasTouched
  }

  protected isFilled(slot: number): boolean {
    return this.#table.has(slot)
  }

  /** Lets a block go that nobody asked for. */
  protected replace(slot: number): void {
    this.#vacate(slot)
    this.#counts.replaced += 1
  }

  /** Slots from here on will not be filled any more. They are empty. */
  protected retire(from: number): void {
    this.#usableCount = Math.min(this.#usableCount, from)
    const kept = this.#empty.subarray(0, this.#emptyCount).filter((slot) => slot < from)
    this.#empty.set(kept)
    this.#emptyCount = kept.length
  }

  #takeSlot(): number {
    if (this.#emptyCount === 0) {
      const victim = this.victim()
      if (victim < 0) return -1
      this.replace(victim)
    }
    this.#emptyCount -= 1
    return this.#empty[this.#emptyCount] as number
  }

  /** The slot is empty again when it fails. */
  #fill(key: Key, slot: number, bytes: Uint8Array): boolean {
    const record = this.#table.add(key, slot)
    this.records[record + lengthWord] = bytes.length
    this.records[record + touchedWord] = 0
    if (this.fillSlot(slot, record + ownWord, bytes)) return true
    this.#table.remove(slot)
    this.#giveSlot(slot)
    return false
  }

  #giveSlot(slot: number): void {
    this.#empty[this.#emptyCount] = slot
    this.#emptyCount += 1
  }

  #vacate(slot: number): void {
    this.emptySlot(slot, this.ownAt(slot))
    this.#table.remove(slot)
    this.#giveSlot(slot)
  }
}
