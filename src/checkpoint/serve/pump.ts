/** Sends what nobody waits for: first what a policy expects, then everything else. */
import type { Clock } from '../../shared/clock.ts'
import { limits } from '../../shared/limits.ts'
import { ExpectedPages } from './expected-pages.ts'
import type { Fill, FillPage } from './fill.ts'
import type { Pace } from './pace.ts'
import type { PageFeed } from './page-feed.ts'

export interface OutPage {
  readonly page: number
  /** undefined for zeros */
  readonly data: Buffer | undefined
}

export interface PumpParts {
  readonly feed: PageFeed
  readonly fill: Fill
  readonly pace: Pace
  readonly clock: Clock
  /** sent, or withheld until everything else was */
  readonly isOut: (page: number) => boolean
  /** resolves when the kernel has taken them */
  readonly send: (pages: readonly OutPage[], cause: 'prefetch' | 'fill') => Promise<void>
  /** whether every page that is needed was sent, but for those that cannot be had */
  readonly isDone: () => boolean
  /** pages to push before anything is asked for */
  readonly first: readonly number[]
  /** whether to fill at all */
  readonly fills: boolean
  /** blocks to have under way ahead of what is sent */
  readonly aheadBlocks: number
  readonly signal: AbortSignal
}

export class Pump {
  readonly #parts: PumpParts
  readonly #expected: ExpectedPages
  readonly #unavailable = new Set<number>()
  readonly #isOut: (page: number) => boolean
  #fills: boolean
  #wake = Promise.withResolvers<void>()

  constructor(parts: PumpParts) {
    this.#parts = parts
    this.#expected = new ExpectedPages(parts.first)
    this.#fills = parts.fills
    this.#isOut = (page) => parts.isOut(page) || this.#unavailable.has(page)
    parts.signal.addEventListener('abort', () => this.wake(), { once: true })
  }

  /** A policy expects these, most urgent first. */
  expect(pages: readonly number[]): void {
    this.#expected.add(pages)
    this.wake()
  }

  /** Everything, and as fast as it goes. */
  hurry(): void {
    this.#parts.pace.isHurried = true
    this.#fills = true
    this.wake()
  }

  /** Something has changed: looks again. */
  wake(): void {
    this.#wake.resolve()
  }

  /** @returns when everything was sent that can be had, or the signal has fired */
  async run(): Promise<void> {
    const { signal, isDone } = this.#parts
    while (!signal.aborted && !isDone()) {
      if (await this.#sendExpected()) continue
      if (!this.#fills) await this.#sleep(undefined)
      else if (!(await this.#fillSome())) return
    }
  }

  /** @returns whether there was anything to do */
  async #sendExpected(): Promise<boolean> {
    const { feed, send } = this.#parts
    const first = this.#expected.peek(this.#isOut)
    if (first === undefined) return false
    const pages = new Map<number, Buffer | undefined>()
    const isOut = (page: number) => pages.has(page) || this.#isOut(page)
    for (let page: number | undefined = first; page !== undefined; page = this.#expected.peek(isOut)) {
      // A block that has to be decompressed is not waited for by what is on hand.
      if (page !== first && feed.onHand(page) === undefined && feed.pages.placeOf(page) !== undefined) break
      const data = feed.onHand(page) ?? (await this.#fetch(page))
      if (data !== undefined) pages.set(page, data === 'zero' ? undefined : data)
      if (pages.size >= limits.pageServerBurstPages) break
    }
    // Meanwhile a guest may have asked for some of them.
    const out = Array.from(pages, ([page, data]) => ({ page, data })).filter(({ page }) => !this.#isOut(page))
    if (out.length > 0) await send(out, 'prefetch')
    return true
  }

  /** @returns undefined when it cannot be had: it is left out, without a word */
  async #fetch(page: number): Promise<Buffer | undefined> {
    const { feed, fill } = this.#parts
    this.#readAhead(page)
    try {
      const data = await feed.fetch(page, 'prefetch')
      const block = feed.pages.placeOf(page)?.block
      if (block !== undefined) fill.opened(block)
      return data
    } catch {
      this.#unavailable.add(page)
      return undefined
    }
  }

  /** What comes after it is read and decompressed meanwhile. */
  #readAhead(first: number): void {
    const { feed, aheadBlocks } = this.#parts
    const met = new Set([this.#togetherWith(first)])
    for (const page of this.#expected.upcoming(aheadBlocks * limits.checkpointBlockPages)) {
      const together = this.#togetherWith(page)
      if (met.has(together) || this.#isOut(page)) continue
      met.add(together)
      if (feed.onHand(page) === undefined) void feed.fetch(page, 'prefetch').catch(() => {})
      if (met.size > aheadBlocks) return
    }
  }

  /** @returns the same for pages that are read at once: of a block, or side by side in a base */
  #togetherWith(page: number): number {
    return this.#parts.feed.pages.placeOf(page)?.block ?? -1 - Math.floor(page / limits.checkpointBlockPages)
  }

  /** @returns false when nothing is left */
  async #fillSome(): Promise<boolean> {
    const { fill, isOut, send, signal } = this.#parts
    const piece = await fill.next()
    if (piece === undefined) return false
    for (let left: readonly FillPage[] = piece; left.length > 0 && !signal.aborted; ) {
      const most = await this.#permission()
      if (most === undefined) {
        await this.#sendExpected()
      } else {
        const pages = left.slice(0, most).filter(({ page }) => !isOut(page))
        left = left.slice(most)
        if (pages.length > 0) await send(pages, 'fill')
      }
    }
    return true
  }

  /** @returns how many pages may go now; undefined when something is more urgent */
  async #permission(): Promise<number | undefined> {
    const { pace, signal } = this.#parts
    while (!signal.aborted) {
      if (this.#expected.peek(this.#isOut) !== undefined) return undefined
      const next = pace.next()
      if (next === 'burst') return limits.pageServerBurstPages
      if (next === 'small') return limits.pageServerSmallBurstPages
      await this.#sleep(next.waitMs)
    }
    return 0
  }

  /** Until something changes, or for so long. */
  async #sleep(ms: number | undefined): Promise<void> {
    const timer = ms === undefined ? undefined : setTimeout(() => this.wake(), ms)
    await this.#wake.promise
    clearTimeout(timer)
    this.#wake = Promise.withResolvers()
  }
}
