/**
 * Learns how many of the pages that a policy brings are used.
 *
 * Of a page that came in time nobody hears again: QEMU asks only for what is not there. So one in many of the pages that would be
 * sent ahead is withheld instead, and sent behind everything else. The guest asks for it exactly if it would have used it, and
 * what is true of these pages is true of all, but for chance: which ones they are depends on nothing but their numbers.
 */
import { createHash } from 'node:crypto'
import { assert } from '../../shared/assert.ts'
import { limits } from '../../shared/limits.ts'
import type { FillPage } from './fill.ts'
import type { Counters } from './stats-schema.ts'

export class PrefetchSample {
  readonly #every: number
  readonly #seed: number
  /** with a copy of their content, so that who asks for one does not wait for a block as well */
  readonly #withheld = new Map<number, Buffer>()
  #isOver = false

  /**
   * @param every one in so many pages is withheld; 0: none
   * @param key the same pages are chosen for the same one. A server that takes over needs another: of what the one before has
   *   not sent, the pages that it withheld would all be chosen again
   */
  constructor(every: number, key: string) {
    assert(Number.isSafeInteger(every) && every >= 0, 'one in a whole number of pages')
    this.#every = every
    this.#seed = createHash('sha256').update(key).digest().readUInt32LE()
  }

  /**
   * A page of guest RAM is about to be sent, and the guest has not asked for it.
   *
   * @returns whether it must not be: then it is withheld from now on
   */
  withhold(page: number, data: Buffer): boolean {
    if (this.#isOver || !this.#isChosen(page)) return false
    // A copy: the block around it may be forgotten.
    this.#withheld.set(page, Buffer.from(data))
    return true
  }

  /** Whether it is to be left alone by whoever sends what nobody waits for. */
  isWithheld(page: number): boolean {
    return !this.#isOver && this.#withheld.has(page)
  }

  /** The guest asks for a page. @returns its content if it was withheld, once */
  take(page: number): Buffer | undefined {
    const data = this.#withheld.get(page)
    this.#withheld.delete(page)
    return data
  }

  /** A page was sent, for whatever reason. */
  sent(page: number): void {
    this.#withheld.delete(page)
  }

  /** Everything else was sent: nothing is withheld any more. @returns what is still to be sent */
  giveUp(): FillPage[] {
    this.#isOver = true
    return Array.from(this.#withheld, ([page, data]) => ({ page, data }))
  }

  #isChosen(page: number): boolean {
    return this.#every > 0 && mix(mix(page) ^ this.#seed) % this.#every === 0
  }
}

/** Spreads 32 bits over 32 bits (the finalizer of MurmurHash3). */
function mix(value: number): number {
  let bits = value >>> 0
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b)
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35)
  return (bits ^ (bits >>> 16)) >>> 0
}

/**
 * How thinly a restore is sampled. A page withheld and used is one more demand fault: of a large restore's at most one in
 * `limits.pageServerSampleEveryMax`, of a small one's at most about `limits.pageServerSamplePages` in all.
 */
export function sampleEvery(neededPages: number): number {
  const every = Math.ceil(neededPages / limits.pageServerSamplePages)
  return Math.min(limits.pageServerSampleEveryMax, Math.max(limits.pageServerSampleEveryMin, every))
}

/** @returns the share of prefetched pages that were used, 0 to 1, estimated; undefined while too few were sampled to tell */
export function hitRatio(
  counted: Pick<Counters, 'prefetchSampledPages' | 'prefetchSampledUsedPages'>,
): number | undefined {
  const { prefetchSampledPages: sampled, prefetchSampledUsedPages: used } = counted
  return sampled < limits.pageServerSampleLeastPages ? undefined : used / sampled
}
