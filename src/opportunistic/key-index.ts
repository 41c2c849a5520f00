import { assert } from '../shared/assert.ts'
import type { Key } from './cache.ts'

/**
 * From keys to slots. Numbers are found through an open table, small enough to stay near the processor, of slots; the key itself
 * lies in the slot's record, which is read anyway. A `Map` costs about as much as the copy of a page. Texts lie in one.
 */
export class KeyIndex {
  readonly #mask: number
  /** a slot and 1, or 0 where the place is empty */
  readonly #table: Int32Array
  readonly #keys: Float64Array
  readonly #stride: number
  readonly #texts = new Map<string, number>()

  /**
   * @param slotCount keys it holds at most
   * @param keys where the key of a slot is kept while it is in the index, at `slot * stride`
   */
  constructor(slotCount: number, keys: Float64Array, stride: number) {
    const places = 2 ** Math.ceil(Math.log2(Math.max(2, slotCount) * 2))
    this.#mask = places - 1
    this.#table = new Int32Array(places)
    this.#keys = keys
    this.#stride = stride
  }

  /** @returns -1 when there is none */
  find(key: Key): number {
    if (typeof key === 'string') return this.#texts.get(key) ?? -1
    return (this.#table[this.#place(key)] as number) - 1
  }

  set(key: Key, slot: number): void {
    if (typeof key === 'string') {
      this.#texts.set(key, slot)
      return
    }
    assert(Number.isSafeInteger(key), 'a key that is a number is a whole one')
    const place = this.#place(key)
    this.#keys[slot * this.#stride] = key
    this.#table[place] = slot + 1
  }

  delete(key: Key): void {
    if (typeof key === 'string') {
      this.#texts.delete(key)
      return
    }
    const place = this.#place(key)
    if (this.#table[place] !== 0) this.#close(place)
  }

  /** Where the key is, or would be put. */
  #place(key: number): number {
    let place = hashOf(key) & this.#mask
    for (;;) {
      const slot = (this.#table[place] as number) - 1
      if (slot < 0 || this.#keys[slot * this.#stride] === key) return place
      place = (place + 1) & this.#mask
    }
  }

  /** Moves back what was put behind a place only because it was taken, so that no search ends there too early. */
  #close(emptied: number): void {
    let hole = emptied
    for (let place = (hole + 1) & this.#mask; ; place = (place + 1) & this.#mask) {
      const entry = this.#table[place] as number
      if (entry === 0) break
      const home = hashOf(this.#keys[(entry - 1) * this.#stride] as number) & this.#mask
      if (((place - home) & this.#mask) < ((place - hole) & this.#mask)) continue
      this.#table[hole] = entry
      hole = place
    }
    this.#table[hole] = 0
  }
}

function hashOf(key: number): number {
  const high = key > 0xffffffff ? Math.floor(key / 2 ** 32) : 0
  const mixed = Math.imul(key ^ Math.imul(high, 0x85ebca6b), 0x9e3779b1)
  return mixed ^ (mixed >>> 15)
}
