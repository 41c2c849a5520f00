/** What is counted while a restore goes on. */
import type { Clock } from '../../shared/clock.ts'
import { RametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import { Histogram } from './histogram.ts'
import type { Counters, RestoreState, RestoreStats, StallFigures } from './stats-schema.ts'

type Counter = keyof Counters

export class RestoreTally {
  state: RestoreState = 'begun'
  neededPages = 0
  missingPages = 0
  workingSetPages = 0
  readonly #clock: Clock
  readonly #startMs: number
  readonly #counters: Counters = {
    demandFaults: 0,
    zeroFaults: 0,
    lateFaults: 0,
    prefetchedPages: 0,
    prefetchSampledPages: 0,
    prefetchSampledUsedPages: 0,
    filledPages: 0,
    sentPages: 0,
    sentBytes: 0,
    blocksRead: 0,
    blockBytesRead: 0,
    blockHits: 0,
    basePagesRead: 0,
    baseBytesRead: 0,
  }
  readonly #stalls = new Histogram()
  readonly #marks: RestoreStats['marks'] = []
  #endMs: number | undefined
  #fillStartMs: number | undefined

  constructor(clock: Clock) {
    this.#clock = clock
    this.#startMs = clock.monotonicMs()
  }

  add(counter: Counter, count = 1): void {
    this.#counters[counter] += count
  }

  /** The guest waited for a page from `sinceMs` (monotonic) until now. */
  stalled(sinceMs: number): void {
    this.#stalls.add(this.#clock.monotonicMs() - sinceMs)
  }

  fillBegins(): void {
    this.#fillStartMs ??= this.#clock.monotonicMs()
  }

  end(state: RestoreState): void {
    this.state = state
    this.#endMs ??= this.#clock.monotonicMs()
  }

  /** @throws RametError `NO_CAPACITY` for one too many; a name that is there already is replaced */
  mark(name: string): void {
    const before = this.#marks.findIndex((mark) => mark.name === name)
    if (before < 0 && this.#marks.length >= limits.pageServerMarkCount)
      throw new RametError('NO_CAPACITY', {
        message: `a restore keeps ${limits.pageServerMarkCount} marks`,
        remediation: 'Mark fewer moments.',
      })
    const atMs = this.#clock.monotonicMs() - this.#startMs
    const mark = { name, atMs, ...this.#counters, stallMs: this.#stallFigures() }
    this.#marks.splice(before < 0 ? this.#marks.length : before, before < 0 ? 0 : 1, mark)
  }

  stats(): RestoreStats {
    const nowMs = this.#endMs ?? this.#clock.monotonicMs()
    const fillMs = this.#fillStartMs === undefined ? 0 : nowMs - this.#fillStartMs
    return {
      ...this.#counters,
      state: this.state,
      elapsedMs: nowMs - this.#startMs,
      neededPages: this.neededPages,
      missingPages: this.missingPages,
      stallMs: this.#stallFigures(),
      fillBytesPerSecond: fillMs > 0 ? (this.#counters.filledPages * 4096 * 1000) / fillMs : 0,
      workingSetPages: this.workingSetPages,
      marks: [...this.#marks],
    }
  }

  #stallFigures(): StallFigures {
    const stalls = this.#stalls
    const [p50, p90, p99] = [stalls.quantile(0.5), stalls.quantile(0.9), stalls.quantile(0.99)]
    return { p50, p90, p99, max: stalls.max, total: stalls.total }
  }
}
