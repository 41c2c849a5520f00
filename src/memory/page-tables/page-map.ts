/**
 * Which virtual pages a page of guest memory is seen at, and what lies beside it there: two numbers of 32 bits a
 * mapping, one a page, and three a *stretch* of adjacent virtual pages.
 *
 * Mappings are counted in guest-virtual order: by address space, then by address. Such a count is a *position*.
 * A walk of the tables meets mappings in that order, so nothing is sorted; the mappings of one page are chained through
 * their positions, as the kernel chains those of an inverted page table.
 */
import { assert } from '../../shared/assert.ts'

/** One mapping of a page. */
export interface Mapping {
  /** index among the address spaces */
  readonly space: number
  /** guest-virtual address divided by 4,096 */
  readonly virtualPage: number
  readonly position: number
}

export interface PageMapArrays {
  /** of the image */
  pageCount: number
  /** page at each position */
  pages: Int32Array
  /** first position of each stretch, ascending */
  stretchStart: Int32Array
  /** virtual page at which each stretch begins */
  stretchPage: Float64Array
  /** first position of each address space, and at the end the number of positions */
  spaceStart: Int32Array
}

const none = -1

export class PageMap {
  readonly arrays: PageMapArrays
  /** next position of the same page */
  readonly #next: Int32Array
  /** first position of each page */
  readonly #first: Int32Array

  constructor(arrays: PageMapArrays) {
    const { pages, pageCount } = arrays
    this.arrays = arrays
    this.#next = new Int32Array(pages.length)
    this.#first = new Int32Array(pageCount).fill(none)
    for (let position = pages.length - 1; position >= 0; position -= 1) {
      const page = pages[position] ?? none
      assert(page >= 0 && page < pageCount, 'a mapping is of a page of the image')
      this.#next[position] = this.#first[page] ?? none
      this.#first[page] = position
    }
  }

  /** Number of positions. */
  get length(): number {
    return this.arrays.pages.length
  }

  get spaceCount(): number {
    return this.arrays.spaceStart.length - 1
  }

  /** Memory that it takes, bytes. */
  get sizeBytes(): number {
    const { pages, stretchStart, stretchPage, spaceStart } = this.arrays
    const all = [pages, stretchStart, stretchPage, spaceStart, this.#next, this.#first]
    return all.reduce((sum, array) => sum + array.byteLength, 0)
  }

  pageAt(position: number): number | undefined {
    return this.arrays.pages[position]
  }

  /** The first position of a page; undefined when no process maps it. */
  firstPositionOf(page: number): number | undefined {
    const position = this.#first[page] ?? none
    return position === none ? undefined : position
  }

  /** The next position of the page at a position. */
  nextPositionOf(position: number): number | undefined {
    const next = this.#next[position] ?? none
    return next === none ? undefined : next
  }

  /** All mappings of a page, by address space and address; at most `maxCount`, for some pages are mapped a million times. */
  mappingsOf(page: number, maxCount: number): Mapping[] {
    const mappings: Mapping[] = []
    let position = this.firstPositionOf(page)
    while (position !== undefined && mappings.length < maxCount) {
      mappings.push({ space: this.spaceAt(position), virtualPage: this.virtualPageAt(position), position })
      position = this.nextPositionOf(position)
    }
    return mappings
  }

  spaceAt(position: number): number {
    return lastAtMost(this.arrays.spaceStart, position)
  }

  virtualPageAt(position: number): number {
    const { stretchStart, stretchPage } = this.arrays
    const stretch = lastAtMost(stretchStart, position)
    return (stretchPage[stretch] ?? 0) + position - (stretchStart[stretch] ?? 0)
  }
}

/** Index of the last number that is not above a value, in ascending ones. */
function lastAtMost(numbers: Int32Array, value: number): number {
  let low = 0
  let high = numbers.length
  while (high - low > 1) {
    const middle = (low + high) >>> 1
    if ((numbers[middle] ?? 0) <= value) low = middle
    else high = middle
  }
  return low
}
