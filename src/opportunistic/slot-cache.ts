import { assert } from '../shared/assert.ts'
import type { CacheFigures, CacheKind, Key, OpportunisticCache } from './cache.ts'
import { KeyIndex } from './key-index.ts'

/**
 * What is known of a slot lies together in one record of 32 bytes, half a line of the processor's cache: words are its key (two), the
 * block's length, whether it was read, and four for the realisation.
 */
const recordWords = 8
const lengthWord = 2
const touchedWord = 3
const ownWord = 4

/** What all realisations have in common: a block has a slot, a key leads to it, and what happens is counted. */
export abstract class SlotCache implements OpportunisticCache {
  abstract readonly kind: CacheKind
  readonly blockBytes: number
  readonly slotCount: number
  readonly #index: KeyIndex
  /** of each slot; undefined where it is empty */
  readonly #keys: (Key | undefined)[]
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
    assert(slotCount > 0 && slotCount < 2 ** 30, 'a cache has slots')
    this.blockBytes = blockBytes
    this.slotCount = slotCount
    this.records = new Int32Array(slotCount * recordWords)
    this.#index = new KeyIndex(slotCount, new Float64Array(this.records.buffer), recordWords / 2)
    this.#keys = new Array<Key | undefined>(slotCount).fill(undefined)
    this.#empty = new Int32Array(slotCount)
    for (let at = 0; at < slotCount; at += 1) this.#empty[at] = slotCount - 1 - at
    this.#emptyCount = slotCount
    this.#usableCount = slotCount
  }

  /** Copies a slot's block and says whether the copy is whole. It was filled, and `into` has room. */
  protected abstract copySlot(slot: number, length: number, into: Buffer, at: number): boolean
  /** Takes the bytes into an empty slot. @returns false when there is no memory for it */
  protected abstract fillSlot(slot: number, bytes: Uint8Array): boolean
  /** The slot's block is not wanted any more. */
  protected abstract emptySlot(slot: number): void
  /** Which block gives way when all slots are filled; -1 when there is no slot at all. */
  protected abstract victim(): number
  /** What others can take, of so many bytes held. */
  protected abstract takeable(heldBytes: number): number
  protected abstract release(): void
  abstract giveBack(bytes: number): number

  read(key: Key, into: Buffer, at = 0): number | undefined {
    const slot = this.#index.find(key)
    if (slot < 0) {
      this.#counts.misses += 1
      return undefined
    }
    const length = this.records[slot * recordWords + lengthWord] as number
    assert(at >= 0 && at + length <= into.length, 'the reader has room for the block')
    if (this.copySlot(slot, length, into, at)) {
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
    return this.#index.find(key) >= 0
  }

  put(key: Key, bytes: Uint8Array): boolean {
    if (this.#closed || bytes.length === 0 || bytes.length > this.blockBytes) {
      this.drop(key)
      this.#counts.refused += 1
      return false
    }
    this.drop(key)
    const slot = this.#takeSlot()
    if (slot < 0 || !this.fillSlot(slot, bytes)) {
      if (slot >= 0) this.#giveSlot(slot)
      this.#counts.refused += 1
      return false
    }
    this.#index.set(key, slot)
    this.#keys[slot] = key
    this.records[slot * recordWords + lengthWord] = bytes.length
    this.records[slot * recordWords + touchedWord] = 0
    this.#counts.puts += 1
    return true
  }

  drop(key: Key): void {
    const slot = this.#index.find(key)
    if (slot >= 0) this.#vacate(slot)
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

  /** Where the realisation's four words of a slot are, in `records`. */
  protected ownAt(slot: number): number {
    return slot * recordWords + ownWord
  }

  protected touch(slot: number): void {
    this.records[slot * recordWords + touchedWord] = 1
  }

  /** Whether a slot's block was read since this was asked last. */
  protected useTouch(slot: number): boolean {
    const at = slot * recordWords + touchedWord
    const wasTouched = this.records[at] === 1
    this.records[at] = 0
    return wasTouched
  }

  protected isFilled(slot: number): boolean {
    return this.#keys[slot] !== undefined
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

  #giveSlot(slot: number): void {
    this.#empty[this.#emptyCount] = slot
    this.#emptyCount += 1
  }

  #vacate(slot: number): void {
    const key = this.#keys[slot]
    assert(key !== undefined, 'only a filled slot is emptied')
    this.#index.delete(key)
    this.#keys[slot] = undefined
    this.emptySlot(slot)
    this.#giveSlot(slot)
  }
}
