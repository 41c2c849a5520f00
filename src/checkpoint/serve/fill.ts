/** The background fill of one restore: everything that was not sent, in the order of the file, and what was withheld. */
import { pageBytes } from '../../memory/base.ts'
import { limits } from '../../shared/limits.ts'
import type { PageFeed } from './page-feed.ts'

export interface FillPage {
  readonly page: number
  readonly data: Buffer
}

interface Ahead {
  readonly block: number
  readonly raw: Promise<Buffer>
}

export interface FillParts {
  readonly feed: PageFeed
  /** sent, or withheld until everything else was */
  readonly isOut: (page: number) => boolean
  /** ends that, and tells what was withheld */
  readonly giveUp: () => readonly FillPage[]
  /** blocks to have under way ahead of what is sent */
  readonly aheadBlocks: number
  /** tries again what failed for a reason that may pass */
  readonly retrying: <T>(work: () => Promise<T>) => Promise<T>
  /** told of what cannot be had; the rest is gone on with */
  readonly onBad: (error: unknown) => void
}

export class Fill {
  readonly #parts: FillParts
  /** blocks that were decompressed for a fault or a neighbour, the newest last: the rest of them is nearly free */
  #opened: number[] = []
  readonly #ahead: Ahead[] = []
  #nextBlock = 0
  #nextPage = 0

  constructor(parts: FillParts) {
    this.#parts = parts
  }

  /** A block was decompressed for another reason: what else is in it comes first. */
  opened(block: number): void {
    if (this.#opened.at(-1) === block) return
    this.#opened.push(block)
    if (this.#opened.length > openedCount) this.#opened = this.#opened.slice(openedCount / 2)
  }

  /** What is left of one block, or some pages of the base; undefined when nothing is left. */
  async next(): Promise<readonly FillPage[] | undefined> {
    for (;;) {
      const held = this.#nextOpened()
      if (held !== undefined) return held
      this.#readAhead()
      const first = this.#ahead.shift()
      if (first === undefined) return (await this.#nextOfBase()) ?? this.#withheld()
      try {
        const pages = this.#unsentOf(first.block, await first.raw)
        if (pages.length > 0) return pages
      } catch (error) {
        this.#parts.onBad(error)
      }
    }
  }

  #nextOpened(): FillPage[] | undefined {
    for (let block = this.#opened.pop(); block !== undefined; block = this.#opened.pop()) {
      const [first] = this.#missingOf(block)
      if (first === undefined) continue
      const pages = this.#missingOf(block).flatMap((page) => {
        const data = this.#parts.feed.onHand(page)
        return data instanceof Buffer ? [{ page, data }] : []
      })
      if (pages.length > 0) return pages
    }
    return undefined
  }

  #missingOf(block: number): number[] {
    return [...this.#parts.feed.pages.pagesOf(block)].filter((page) => !this.#parts.isOut(page))
  }

  #readAhead(): void {
    const { feed, aheadBlocks, retrying } = this.#parts
    for (; this.#ahead.length < aheadBlocks && this.#nextBlock < feed.pages.blockCount; this.#nextBlock += 1) {
      const block = this.#nextBlock
      if (feed.pages.pagesOf(block).every(this.#parts.isOut)) continue
      const raw = retrying(() => feed.fetchBlock(block, 'fill'))
      raw.catch(() => {})
      this.#ahead.push({ block, raw })
    }
  }

  #unsentOf(block: number, raw: Buffer): FillPage[] {
    const found: FillPage[] = []
    for (const [slot, page] of this.#parts.feed.pages.pagesOf(block).entries())
      if (!this.#parts.isOut(page)) found.push({ page, data: raw.subarray(slot * pageBytes, (slot + 1) * pageBytes) })
    return found
  }

  async #nextOfBase(): Promise<FillPage[] | undefined> {
    const { feed, isOut, retrying, onBad } = this.#parts
    if (feed.pages.baseCount === 0) return undefined
    const found: FillPage[] = []
    for (; this.#nextPage < feed.pages.pageCount && found.length < limits.pageServerBurstPages; this.#nextPage += 1) {
      const page = this.#nextPage
      if (isOut(page) || feed.pages.kindOf(page) !== 'base') continue
      try {
        found.push({ page, data: await retrying(() => feed.fetch(page, 'fill')) })
      } catch (error) {
        onBad(error)
      }
    }
    return found.length > 0 ? found : undefined
  }

  #withheld(): readonly FillPage[] | undefined {
    const pages = this.#parts.giveUp()
    return pages.length > 0 ? pages : undefined
  }
}

/** Remembered of the blocks that were opened; the others are met again in the order of the file. */
const openedCount = 256
