/** Reads page tables one at a time, and not for ever: what they say is the guest's word. */
import { pageBytes } from '../base.ts'
import type { MemoryImage } from './memory-image.ts'
import { frameOfPage, type PhysicalLayout, pageOfFrame } from './physical-layout.ts'

/** most levels that a processor walks */
export const maxLevels = 5

export class TableReader {
  readonly layout: PhysicalLayout
  readonly #image: MemoryImage
  /** One buffer a level: a walk holds one table of each at most. */
  readonly #tables = Array.from({ length: maxLevels + 1 }, () => {
    const bytes = new Uint8Array(new ArrayBuffer(pageBytes))
    return { bytes, words: new Uint32Array(bytes.buffer) }
  })
  #left = 0

  constructor(image: MemoryImage, layout: PhysicalLayout) {
    this.#image = image
    this.layout = layout
  }

  /** Tables that may be read until the next call. */
  allow(tableCount: number): void {
    this.#left = tableCount
  }

  /** Tables that may still be read. */
  get left(): number {
    return this.#left
  }

  /**
   * The words of the table at a frame, in the buffer of its level until the next call for that level; undefined where
   * there is no RAM, or when the allowance is spent.
   */
  read(frame: number, level: number): Uint32Array | undefined {
    const page = pageOfFrame(this.layout, frame)
    const table = this.#tables[level]
    if (page === undefined || table === undefined || this.#left <= 0) return undefined
    this.#left -= 1
    this.#image.read(table.bytes, page * pageBytes)
    return table.words
  }

  /** Pages of RAM from a frame on, at most `count`, that are one stretch of the image too. */
  pagesFrom(frame: number, count: number): number {
    const page = pageOfFrame(this.layout, frame)
    if (page === undefined) return 0
    const { layout } = this
    const end = page < layout.lowPageCount ? layout.lowPageCount : frameOfPage(layout, layout.pageCount)
    return Math.min(count, end - frame)
  }
}
