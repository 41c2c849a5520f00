import { limits } from '../../shared/limits.ts'

interface Batch {
  readonly pages: readonly number[]
  next: number
}

/**
 * Pages that a policy expects to be asked for, those of the newest fault first: the guest is there now. What was
 * expected long ago is forgotten where there are too many; the background fill brings it.
 */
export class ExpectedPages {
  /** newest last */
  #batches: Batch[] = []
  #count = 0
  /** pushed before anything was asked for: behind everything else, and however many they are */
  readonly #first: Batch

  constructor(first: readonly number[] = []) {
    this.#first = { pages: first, next: 0 }
  }

  add(pages: readonly number[]): void {
    if (pages.length === 0) return
    this.#batches.push({ pages, next: 0 })
    this.#count += pages.length
    while (this.#count > limits.pageServerExpectedPages && this.#batches.length > 1) {
      const oldest = this.#batches.shift()
      this.#count -= oldest === undefined ? 0 : oldest.pages.length - oldest.next
    }
  }

  /** The next one that is not out, which stays; undefined when there is none. Those before it are forgotten. */
  peek(isOut: (page: number) => boolean): number | undefined {
    for (let page = this.#at(); page !== undefined; page = this.#at()) {
      if (!isOut(page)) return page
      this.#drop()
    }
    return undefined
  }

  /** Up to `count` of those that come next, to look ahead: some may have been sent. */
  upcoming(count: number): readonly number[] {
    const { pages, next } = this.#current()
    return pages.slice(next, next + count)
  }

  #drop(): void {
    const batch = this.#current()
    batch.next += 1
    if (batch === this.#first) return
    this.#count -= 1
    if (batch.next >= batch.pages.length) this.#batches.pop()
  }

  #current(): Batch {
    return this.#batches.at(-1) ?? this.#first
  }

  #at(): number | undefined {
    const { pages, next } = this.#current()
    return pages[next]
  }
}
