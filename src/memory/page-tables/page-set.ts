/** A set of pages of an image, a bit each. */
export class PageSet {
  readonly pageCount: number
  readonly bits: Uint8Array
  #size = 0

  constructor(pageCount: number) {
    this.pageCount = pageCount
    this.bits = new Uint8Array(Math.ceil(pageCount / 8))
  }

  get size(): number {
    return this.#size
  }

  has(page: number): boolean {
    return ((this.bits[page >>> 3] ?? 0) & (1 << (page & 7))) !== 0
  }

  /** @returns whether it was not in yet */
  add(page: number): boolean {
    if (page < 0 || page >= this.pageCount || this.has(page)) return false
    this.bits[page >>> 3] = (this.bits[page >>> 3] ?? 0) | (1 << (page & 7))
    this.#size += 1
    return true
  }
}
