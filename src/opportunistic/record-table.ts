import { assert } from '../shared/assert.ts'
import type { Key } from './cache.ts'

/** words of a record: key (two), slot, the block's length, three for the realisation, whether the block was read */
const recordWords = 8
const recordShift = 3
/** a slot and 1; 0 where the place is empty */
const slotWord = 2
export const lengthWord = 3
export const ownWord = 4
export const touchedWord = 7
export const maxSlots = 2 ** 26

/**
 * From keys to slots, and what is known of the block there, in one look: the record lies in the open table itself, half a line of
 * the processor's cache. A look into a table and from there to a record are two misses one after the other before a copy
 * can begin, a quarter of the copy of a page. A `Map` costs as much as the copy.
 */
export class RecordTable {
  /** all records, one after another; `find` and `recordOf` say where */
  readonly words: Int32Array
  /** the same memory: the key of a record */
  readonly #keys: Float64Array
  readonly #mask: number
  /** of each slot: the place of its record; -1 where it has none */
  readonly #places: Int32Array
  /** texts have numbers beyond those of keys, each its own */
  readonly #numbers = new Map<string, number>()
  readonly #texts = new Map<number, string>()
  #lastNumber = 2 ** 53

  /** @param slotCount records it holds at most */
  constructor(slotCount: number) {
    const places = 2 ** Math.ceil(Math.log2(Math.max(2, slotCount) * 2))
    this.#mask = places - 1
    this.words = new Int32Array(places * recordWords)
    this.#keys = new Float64Array(this.words.buffer)
    this.#places = new Int32Array(slotCount).fill(-1)
  }

  /** @returns where the record of a key begins, until one is removed; -1 when there is none */
  find(key: Key): number {
    const number = typeof key === 'number' ? key : this.#numbers.get(key)
    if (number === undefined || (number > Number.MAX_SAFE_INTEGER && number === key)) return -1
    for (let place = hashOf(number) & this.#mask; ; place = (place + 1) & this.#mask) {
      const at = place << recordShift
      if (this.words[at + slotWord] === 0) return -1
      if (this.#keys[at >> 1] === number) return at
    }
  }

  /** Adds a record for a key that has none. @returns where it begins */
  add(key: Key, slot: number): number {
    assert(typeof key === 'string' || Number.isSafeInteger(key), 'a key that is a number is a whole one')
    assert(this.#places[slot] === -1, 'a slot has one record')
    const number = typeof key === 'number' ? key : this.#numberOf(key)
    let place = hashOf(number) & this.#mask
    while (this.words[(place << recordShift) + slotWord] !== 0) place = (place + 1) & this.#mask
    const at = place << recordShift
    this.#keys[at >> 1] = number
    this.words[at + slotWord] = slot + 1
    this.#places[slot] = place
    return at
  }

  slotOf(at: number): number {
    return (this.words[at + slotWord] as number) - 1
  }

  has(slot: number): boolean {
    return this.#places[slot] !== -1
  }

  /** Where the record of a slot that has one begins. */
  recordOf(slot: number): number {
    return (this.#places[slot] as number) << recordShift
  }

  /** Removes the record of a slot that has one. Others may lie elsewhere afterwards. */
  remove(slot: number): void {
    const place = this.#places[slot] as number
    assert(place >= 0, 'only a record that is there is removed')
    const number = this.#keys[(place << recordShift) >> 1] as number
    if (number > Number.MAX_SAFE_INTEGER) {
      this.#numbers.delete(this.#texts.get(number) as string)
      this.#texts.delete(number)
    }
    this.#places[slot] = -1
    this.#close(place)
  }

  /** Moves back what was put behind a place only because it was taken, so that no search ends there too early. */
  #close(emptied: number): void {
    let hole = emptied
    for (let place = (hole + 1) & this.#mask; ; place = (place + 1) & this.#mask) {
      const at = place << recordShift
      const entry = this.words[at + slotWord] as number
      if (entry === 0) break
      const home = hashOf(this.#keys[at >> 1] as number) & this.#mask
      if (((place - home) & this.#mask) < ((place - hole) & this.#mask)) continue
      this.words.copyWithin(hole << recordShift, at, at + recordWords)
      this.#places[entry - 1] = hole
      hole = place
    }
    this.words[(hole << recordShift) + slotWord] = 0
  }

  #numberOf(text: string): number {
    // The next even one is the next there is.
    this.#lastNumber += 2
    this.#numbers.set(text, this.#lastNumber)
    this.#texts.set(this.#lastNumber, text)
    return this.#lastNumber
  }
}

function hashOf(key: number): number {
  const high = key > 0xffffffff ? Math.floor(key / 2 ** 32) : 0
  const mixed = Math.imul(key ^ Math.imul(high, 0x85ebca6b), 0x9e3779b1)
  return mixed ^ (mixed >>> 15)
}
