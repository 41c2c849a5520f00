import type { Line, Place } from './line.ts'
import type { PolicyView, PrefetchPolicy } from './policy.ts'
import { type StreamLimits, Streams } from './streams.ts'

const recordLimits: StreamLimits = { streamCount: 16, firstPages: 32, maxPages: 512, reachPositions: 64 }

/** Pages in the order in which an earlier restore needed them. */
class RecordLine implements Line {
  readonly #pages: readonly number[]
  /** of each page of the guest, one more than its position; 0 for those that are not in the record */
  readonly #places: Uint32Array

  constructor(pages: readonly number[], pageCount: number) {
    this.#pages = pages
    this.#places = new Uint32Array(pageCount)
    for (const [position, page] of pages.entries()) this.#places[page] = position + 1
  }

  placeOf(page: number): Place | undefined {
    const place = this.#places[page] ?? 0
    return place === 0 ? undefined : { position: place - 1, space: undefined }
  }

  pageAt(position: number): number | undefined {
    return this.#pages[position]
  }

  beside(position: number, step: 1 | -1): number | undefined {
    return this.#pages[position + step] === undefined ? undefined : position + step
  }
}

/**
 * A guest that asks for a page of the record has overtaken its push: what it needed after that page the last time comes
 * next, in windows that grow while it goes on along the record. Other pages are left to another policy.
 */
export class RecordedPolicy implements PrefetchPolicy {
  readonly #line: RecordLine
  readonly #along: Streams
  readonly #other: PrefetchPolicy

  constructor(view: PolicyView, record: readonly number[], other: PrefetchPolicy) {
    this.#line = new RecordLine(record, view.pages.pageCount)
    this.#along = new Streams(view, this.#line, recordLimits)
    this.#other = other
  }

  onFault(page: number): number[] {
    const place = this.#line.placeOf(page)
    return place === undefined ? this.#other.onFault(page) : this.#along.onFault(place.position)
  }
}
