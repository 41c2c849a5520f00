import type { Line, Place } from './line.ts'
import type { PolicyView, PrefetchPolicy } from './policy.ts'
import { type StreamLimits, Streams } from './streams.ts'

const recordLimits: StreamLimits = { streamCount: 16, firstPages: 32, maxPages: 512, reachPositions: 64 }

/** Pages in the order in which an earlier restore needed them. */
class RecordLine implements Line {
  readonly #pages: readonly number[]
  readonly #positions: ReadonlyMap<number, number>

  constructor(pages: readonly number[]) {
    this.#pages = pages
    this.#positions = new Map(pages.map((page, position) => [page, position]))
  }

  placeOf(page: number): Place | undefined {
    const position = this.#positions.get(page)
    return position === undefined ? undefined : { position, space: undefined }
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
    this.#line = new RecordLine(record)
    this.#along = new Streams(view, this.#line, recordLimits)
    this.#other = other
  }

  onFault(page: number): number[] {
    const place = this.#line.placeOf(page)
    return place === undefined ? this.#other.onFault(page) : this.#along.onFault(place.position)
  }
}
