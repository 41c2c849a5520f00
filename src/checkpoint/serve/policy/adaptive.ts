import { FileLine, type Line, PhysicalLine, VirtualLine } from './line.ts'
import type { PolicyView, PrefetchPolicy } from './policy.ts'
import { type StreamLimits, Streams } from './streams.ts'

const virtualLimits: StreamLimits = { streamCount: 64, firstPages: 8, maxPages: 512, reachPositions: 8 }
const physicalLimits: StreamLimits = { streamCount: 32, firstPages: 16, maxPages: 128, reachPositions: 16 }

/**
 * Follows each walk of the guest with a window of its own: along the address space that the fault is in, or, for pages
 * that no process maps, along guest RAM.
 */
export class AdaptivePolicy implements PrefetchPolicy {
  readonly #virtual: Line
  readonly #alongVirtual: Streams
  readonly #alongPhysical: Streams
  #space: number | undefined

  constructor(view: PolicyView) {
    this.#virtual = view.locality === undefined ? new FileLine(view.pages) : new VirtualLine(view.locality)
    this.#alongVirtual = new Streams(view, this.#virtual, virtualLimits)
    this.#alongPhysical = new Streams(view, new PhysicalLine(view.pages.pageCount), physicalLimits)
  }

  onFault(page: number): number[] {
    const place = this.#virtual.placeOf(page, this.#space)
    if (place === undefined) return this.#alongPhysical.onFault(page)
    this.#space = place.space
    return this.#alongVirtual.onFault(place.position)
  }
}
