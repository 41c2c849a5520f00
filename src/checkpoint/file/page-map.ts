/**
 * Where each page of guest RAM is: nowhere, since it is zeros; in the base; or in a block. Takes at most eight bytes of
 * memory a page.
 */
import { assert } from '../../shared/assert.ts'
import type { Bitmap } from './bitmap.ts'
import { damaged } from './damaged.ts'

export type PageKind = 'zero' | 'base' | 'stored'

/** Where a stored page is. */
export interface PagePlace {
  readonly block: number
  /** pages before it in that block */
  readonly slot: number
}

export interface PageMapParts {
  readonly pageCount: number
  readonly blockPages: number
  readonly zero: Bitmap
  readonly base: Bitmap
  /** page at each position: block = position / blockPages, slot = the rest */
  readonly order: Uint32Array
}

export class PageMap {
  readonly pageCount: number
  readonly blockPages: number
  readonly zeroCount: number
  readonly baseCount: number
  readonly #parts: PageMapParts
  /** four bytes a page */
  readonly #positions: Uint32Array

  /**
   * @param file named in errors
   * @throws RametError `CHECKPOINT_DAMAGED` unless each page is in exactly one place
   */
  constructor(parts: PageMapParts, file: string) {
    const { pageCount, zero, base, order } = parts
    this.pageCount = pageCount
    this.blockPages = parts.blockPages
    this.#parts = parts
    this.zeroCount = zero.count()
    this.baseCount = base.count()
    const wrong = (why: string) => damaged(file, 'page map', why)
    if (!zero.isTidy || !base.isTidy) throw wrong('tells of pages behind the end')
    if (this.zeroCount + this.baseCount + order.length !== pageCount) throw wrong('has not one place for each page')
    this.#positions = positionsOf(order, pageCount, wrong)
    // In the order of pages, which is several times as fast as asking for each where it is met.
    for (let page = 0; page < pageCount; page += 1) {
      const places = Number(this.#positions[page] !== 0) + Number(zero.get(page)) + Number(base.get(page))
      if (places !== 1) throw wrong(`has ${places} places for page ${page}`)
    }
  }

  get storedCount(): number {
    return this.#parts.order.length
  }

  get blockCount(): number {
    return Math.ceil(this.storedCount / this.blockPages)
  }

  kindOf(page: number): PageKind {
    assert(page >= 0 && page < this.pageCount, 'a page of this memory')
    if (this.#positions[page] !== 0) return 'stored'
    return this.#parts.zero.get(page) ? 'zero' : 'base'
  }

  /** @returns undefined for a page that is not stored */
  placeOf(page: number): PagePlace | undefined {
    assert(page >= 0 && page < this.pageCount, 'a page of this memory')
    const position = (this.#positions[page] ?? 0) - 1
    if (position < 0) return undefined
    return { block: Math.floor(position / this.blockPages), slot: position % this.blockPages }
  }

  /** Pages of a block by slot: neighbours in the file's order. A view, not a copy. */
  pagesOf(block: number): Uint32Array {
    assert(block >= 0 && block < this.blockCount, 'a block of this file')
    return this.#parts.order.subarray(block * this.blockPages, (block + 1) * this.blockPages)
  }
}

/** Of each page its position + 1, and 0 where it has none. */
function positionsOf(order: Uint32Array, pageCount: number, wrong: (why: string) => Error): Uint32Array {
  const positions = new Uint32Array(pageCount)
  for (let position = 0; position < order.length; position += 1) {
    const page = order[position] ?? 0
    if (page >= pageCount) throw wrong('tells of pages behind the end')
    if (positions[page] !== 0) throw wrong(`has page ${page} twice`)
    positions[page] = position + 1
  }
  return positions
}
