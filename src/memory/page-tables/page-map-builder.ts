import { PageMap } from './page-map.ts'

const startCount = 4096

/** Takes mappings in guest-virtual order and makes the map of them. Grows up to a maximum, then takes no more. */
export class PageMapBuilder {
  readonly #pageCount: number
  readonly #maxCount: number
  #pages = new Int32Array(startCount)
  #count = 0
  #stretchStart = new Int32Array(startCount)
  #stretchPage = new Float64Array(startCount)
  #stretchCount = 0
  readonly #spaceStart: number[] = []
  /** virtual page that would go on with the last stretch */
  #nextVirtualPage = -1

  /** @param maxCount mappings */
  constructor(pageCount: number, maxCount: number) {
    this.#pageCount = pageCount
    this.#maxCount = maxCount
  }

  /** Mappings so far. */
  get count(): number {
    return this.#count
  }

  get isFull(): boolean {
    return this.#count >= this.#maxCount
  }

  beginSpace(): void {
    this.#spaceStart.push(this.#count)
    this.#nextVirtualPage = -1
  }

  /** Takes the last address space back, with all its mappings. */
  dropSpace(): void {
    this.#count = this.#spaceStart.pop() ?? 0
    while (this.#stretchCount > 0 && (this.#stretchStart[this.#stretchCount - 1] ?? 0) >= this.#count) {
      this.#stretchCount -= 1
    }
  }

  /** Adds `pageCount` adjacent pages of the image, seen at adjacent virtual pages. */
  add(virtualPage: number, page: number, pageCount: number): void {
    const count = Math.min(pageCount, this.#maxCount - this.#count)
    if (count <= 0) return
    if (virtualPage !== this.#nextVirtualPage) this.#beginStretch(virtualPage)
    this.#nextVirtualPage = virtualPage + count
    if (this.#count + count > this.#pages.length) this.#pages = grown(this.#pages, this.#count + count)
    for (let index = 0; index < count; index += 1) this.#pages[this.#count + index] = page + index
    this.#count += count
  }

  #beginStretch(virtualPage: number): void {
    if (this.#stretchCount === this.#stretchStart.length) {
      this.#stretchStart = grown(this.#stretchStart, this.#stretchCount + 1)
      const pages = new Float64Array(this.#stretchStart.length)
      pages.set(this.#stretchPage)
      this.#stretchPage = pages
    }
    this.#stretchStart[this.#stretchCount] = this.#count
    this.#stretchPage[this.#stretchCount] = virtualPage
    this.#stretchCount += 1
  }

  build(): PageMap {
    return new PageMap({
      pageCount: this.#pageCount,
      pages: this.#pages.slice(0, this.#count),
      stretchStart: this.#stretchStart.slice(0, this.#stretchCount),
      stretchPage: this.#stretchPage.slice(0, this.#stretchCount),
      spaceStart: Int32Array.from([...this.#spaceStart, this.#count]),
    })
  }
}

function grown(numbers: Int32Array, atLeast: number): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(Math.max(atLeast, numbers.length * 2))
  larger.set(numbers)
  return larger
}
