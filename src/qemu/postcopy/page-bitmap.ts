import { assert } from '../../shared/assert.ts'

/** One bit for each page of a RAM block. */
export class PageBitmap {
  readonly pageCount: number
  readonly #bytes: Uint8Array
  #count = 0

  /** @param bytes bit i of byte i>>3 for page i, lowest first, as QEMU sends them; not copied */
  constructor(pageCount: number, bytes: Uint8Array = new Uint8Array(Math.ceil(pageCount / 8))) {
    assert(bytes.length >= Math.ceil(pageCount / 8), 'a bit for each page')
    this.pageCount = pageCount
    this.#bytes = bytes
    for (let page = 0; page < pageCount; page += 1) if (this.has(page)) this.#count += 1
  }

  /** pages that are set */
  get count(): number {
    return this.#count
  }

  has(page: number): boolean {
    return (((this.#bytes[page >> 3] ?? 0) >> (page & 7)) & 1) === 1
  }

  /** @returns whether it was not set before */
  set(page: number): boolean {
    assert(page >= 0 && page < this.pageCount, 'a page of the block')
    if (this.has(page)) return false
    this.#bytes[page >> 3] = (this.#bytes[page >> 3] ?? 0) | (1 << (page & 7))
    this.#count += 1
    return true
  }

  /** The first page from `from` on that is set here and not in `other`; undefined when there is none. */
  nextWithout(other: PageBitmap, from = 0): number | undefined {
    for (let page = from; page < this.pageCount; page += 1) {
      // Whole bytes at once where there is nothing to find.
      if ((page & 7) === 0 && ((this.#bytes[page >> 3] ?? 0) & ~(other.#bytes[page >> 3] ?? 0)) === 0) page += 7
      else if (this.has(page) && !other.has(page)) return page
    }
    return undefined
  }
}
