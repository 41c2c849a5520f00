/** Policies with a window of one size. */
import { gather } from './gather.ts'
import { FileLine, type Line, PhysicalLine, VirtualLine } from './line.ts'
import type { PolicyView, PrefetchPolicy } from './policy.ts'

/** Good in `none` of the measured cases to be larger: what is physically near is seldom used together. */
const physicalPages = 32
const virtualPages = 128
/** Windows of physical neighbours of which none is met again, one after another, until they are left out. */
const missesUntilOff = 16
/** Faults between two attempts once they are left out. */
const retryFaults = 64

/** Pages around a fault on a line, a part of them behind it. */
export function around(view: PolicyView, line: Line, position: number, ahead: number, behind: number): number[] {
  const before = gather(view, line, position, 1, ahead).pages
  const after = gather(view, line, position, -1, behind).pages
  return [...new Set([...before, ...after])]
}

/** As many pages on both sides, as they lie in guest RAM. */
export class PhysicalPolicy implements PrefetchPolicy {
  readonly #view: PolicyView
  readonly #line: PhysicalLine

  constructor(view: PolicyView) {
    this.#view = view
    this.#line = new PhysicalLine(view.pages.pageCount)
  }

  onFault(page: number): number[] {
    return around(this.#view, this.#line, page, physicalPages / 2, physicalPages / 2)
  }
}

/**
 * The neighbours in the address space of the guest that the fault is in, three quarters ahead. Pages that no process maps
 * get a window of physical neighbours, while that is of use.
 */
export class VirtualPolicy implements PrefetchPolicy {
  readonly #view: PolicyView
  readonly #line: Line
  readonly #physical: PhysicalPolicy
  #space: number | undefined
  #lastUnmapped: number | undefined
  #misses = 0
  #sinceOff = 0

  constructor(view: PolicyView) {
    this.#view = view
    this.#line = view.locality === undefined ? new FileLine(view.pages) : new VirtualLine(view.locality)
    this.#physical = new PhysicalPolicy(view)
  }

  onFault(page: number): number[] {
    const place = this.#line.placeOf(page, this.#space)
    if (place === undefined) return this.#onUnmapped(page)
    this.#space = place.space
    return around(this.#view, this.#line, place.position, (virtualPages * 3) / 4, virtualPages / 4)
  }

  /** A window was of use when the next such fault is near it: the guest goes on there. */
  #onUnmapped(page: number): number[] {
    const isNear = this.#lastUnmapped !== undefined && Math.abs(page - this.#lastUnmapped) <= 2 * physicalPages
    this.#lastUnmapped = page
    this.#misses = isNear ? 0 : this.#misses + 1
    if (this.#misses < missesUntilOff) return this.#physical.onFault(page)
    this.#sinceOff = (this.#sinceOff + 1) % retryFaults
    return this.#sinceOff === 0 ? this.#physical.onFault(page) : []
  }
}
