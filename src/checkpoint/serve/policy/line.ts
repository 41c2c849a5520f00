/** Orders of pages in which neighbours are looked for. */
import type { PageMap as LocalityMap } from '../../../memory/page-tables/page-map.ts'
import type { PageMap } from '../../file/page-map.ts'

/** Pages in an order, at numbered positions. */
export interface Line {
  /**
   * @param nearSpace of the fault before: of several places of a page, the one in that address space
   * @returns undefined for a page that is nowhere on this line
   */
  placeOf(page: number, nearSpace: number | undefined): Place | undefined
  pageAt(position: number): number | undefined
  /** @returns the position beside one; undefined where what follows belongs to something else */
  beside(position: number, step: 1 | -1): number | undefined
}

export interface Place {
  readonly position: number
  /** address space, where the line has several */
  readonly space: number | undefined
}

/** As the pages lie in guest RAM. */
export class PhysicalLine implements Line {
  readonly #pageCount: number

  constructor(pageCount: number) {
    this.#pageCount = pageCount
  }

  placeOf(page: number): Place {
    return { position: page, space: undefined }
  }

  pageAt(position: number): number | undefined {
    return position >= 0 && position < this.#pageCount ? position : undefined
  }

  beside(position: number, step: 1 | -1): number | undefined {
    return this.pageAt(position + step)
  }
}

/** As the pages lie in the checkpoint: in guest-virtual order where that was known. Pages of zeros are not there. */
export class FileLine implements Line {
  readonly #pages: PageMap

  constructor(pages: PageMap) {
    this.#pages = pages
  }

  placeOf(page: number): Place | undefined {
    const place = this.#pages.placeOf(page)
    return place && { position: place.block * this.#pages.blockPages + place.slot, space: undefined }
  }

  pageAt(position: number): number | undefined {
    const { storedCount, blockPages } = this.#pages
    if (position < 0 || position >= storedCount) return undefined
    return this.#pages.pagesOf(Math.floor(position / blockPages))[position % blockPages]
  }

  beside(position: number, step: 1 | -1): number | undefined {
    return this.pageAt(position + step) === undefined ? undefined : position + step
  }
}

/** Pages farther apart than one table's reach belong to different things. */
const maxGapPages = 512
/** of a page's mappings that are looked at for the right address space */
const maxMappings = 64

/** As the pages lie in the guest's address spaces; only those that a process has mapped. */
export class VirtualLine implements Line {
  readonly #map: LocalityMap

  constructor(map: LocalityMap) {
    this.#map = map
  }

  placeOf(page: number, nearSpace: number | undefined): Place | undefined {
    const map = this.#map
    const first = map.firstPositionOf(page)
    if (first === undefined) return undefined
    let position: number | undefined = first
    for (let looked = 0; nearSpace !== undefined && position !== undefined && looked < maxMappings; looked += 1) {
      if (map.spaceAt(position) === nearSpace) return { position, space: nearSpace }
      position = map.nextPositionOf(position)
    }
    return { position: first, space: map.spaceAt(first) }
  }

  pageAt(position: number): number | undefined {
    return this.#map.pageAt(position)
  }

  beside(position: number, step: 1 | -1): number | undefined {
    const map = this.#map
    const next = position + step
    if (next < 0 || next >= map.length || map.spaceAt(next) !== map.spaceAt(position)) return undefined
    const gap = Math.abs(map.virtualPageAt(next) - map.virtualPageAt(position))
    return gap <= maxGapPages ? next : undefined
  }
}
