import { type Gathered, gather } from './gather.ts'
import type { Line } from './line.ts'
import type { PolicyView } from './policy.ts'

export interface StreamLimits {
  /** streams followed at once; the one that was met longest ago is forgotten for a new one */
  readonly streamCount: number
  /** pages of a stream's first window, and of its largest */
  readonly firstPages: number
  readonly maxPages: number
  /** a fault so many positions beside what was brought belongs to the stream, or as many as its window is wide */
  readonly reachPositions: number
}

/** A place at which a guest walks along a line. */
interface Stream {
  /** positions from `start` to `end` were brought or asked for */
  start: number
  end: number
  windowPages: number
  isMet: boolean
}

/** Of the streams that were forgotten, those that were met again: below the first, first windows shrink; below the second, none. */
const usefulShare = 0.3
const uselessShare = 0.15
/** Brought along at once within a window that is not there yet. */
const nearPages = 32
/** How fast that share follows: about so many streams are remembered. */
const memoryStreams = 16

/**
 * Follows several walks along a line at once, each by a window that doubles whenever the walk reaches its end. Where
 * walks do not go on (a forgotten one was never met again), first windows shrink, down to none at all.
 */
export class Streams {
  readonly #view: PolicyView
  readonly #line: Line
  readonly #limits: StreamLimits
  /** the one met longest ago first */
  readonly #streams: Stream[] = []
  #metShare = 0.5

  constructor(view: PolicyView, line: Line, limits: StreamLimits) {
    this.#view = view
    this.#line = line
    this.#limits = limits
  }

  /** @returns the pages to bring along for a fault at a position */
  onFault(position: number): number[] {
    const known = this.#find(position)
    return known === undefined ? this.#begin(position) : this.#goOn(known, position)
  }

  #find(position: number): Stream | undefined {
    const index = this.#streams.findLastIndex(({ start, end, windowPages }) => {
      const reach = Math.max(this.#limits.reachPositions, windowPages)
      return position >= start - reach && position <= end + reach
    })
    const [stream] = index < 0 ? [] : this.#streams.splice(index, 1)
    if (stream !== undefined) this.#streams.push(stream)
    return stream
  }

  #goOn(stream: Stream, position: number): number[] {
    if (!stream.isMet) this.#remember(true)
    stream.isMet = true
    const isInside = position >= stream.start && position <= stream.end
    // Asked for earlier, but the guest was faster, or it was dropped: what is beside it is needed now.
    const near = isInside ? this.#gather(position, 1, nearPages).pages : []
    if (isInside && stream.end - position > stream.windowPages / 2) return near
    stream.windowPages = Math.min(this.#limits.maxPages, Math.max(1, stream.windowPages) * 2)
    const step = position < stream.start ? -1 : 1
    const { pages, end } = this.#gather(isInside ? stream.end : position, step, stream.windowPages)
    // Left out by a walk that does not touch its pages one by one: it comes back to them.
    const gap = isInside ? 0 : Math.min(Math.abs(position - stream.start), Math.abs(position - stream.end))
    const skipped = gap === 0 ? [] : this.#gather(position, step === 1 ? -1 : 1, gap).pages
    stream.start = Math.min(stream.start, position, end)
    stream.end = Math.max(stream.end, position, end)
    return [...new Set([...near, ...pages, ...skipped])]
  }

  #begin(position: number): number[] {
    const { streamCount, firstPages } = this.#limits
    const forgotten = this.#streams.length >= streamCount ? this.#streams.shift() : undefined
    if (forgotten !== undefined && !forgotten.isMet) this.#remember(false)
    const windowPages = this.#firstWindow(firstPages)
    const ahead = this.#gather(position, 1, Math.ceil((windowPages * 3) / 4))
    const behind = this.#gather(position, -1, Math.floor(windowPages / 4))
    this.#streams.push({ start: behind.end, end: ahead.end, windowPages, isMet: false })
    return [...new Set([...ahead.pages, ...behind.pages])]
  }

  #gather(from: number, step: 1 | -1, count: number): Gathered {
    return gather(this.#view, this.#line, from, step, count)
  }

  #firstWindow(pages: number): number {
    if (this.#metShare >= usefulShare) return pages
    return this.#metShare >= uselessShare ? Math.ceil(pages / 4) : 0
  }

  #remember(met: boolean): void {
    this.#metShare += ((met ? 1 : 0) - this.#metShare) / memoryStreams
  }
}
