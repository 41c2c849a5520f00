import { setImmediate as breathe, setTimeout as delay } from 'node:timers/promises'
import type { RangeSource } from './range-source.ts'

/** Timers are late by a millisecond or so; the rest of a wait is spent looking at the clock between other work. */
const timerSlackMs = 2

/**
 * A source that is farther away: each read begins later by a time, those at the same time beside each other. For tests
 * and measurements. A wait is exact to some tens of microseconds, and keeps its thread busy, but not blocked, for the last
 * two milliseconds.
 */
export class DelayedSource implements RangeSource {
  readonly #source: RangeSource
  readonly #delayMs: number

  constructor(source: RangeSource, delayMs: number) {
    this.#source = source
    this.#delayMs = delayMs
  }

  get name(): string {
    return this.#source.name
  }

  get sizeBytes(): number | undefined {
    return this.#source.sizeBytes
  }

  async readRange(offsetBytes: number, lengthBytes: number, signal?: AbortSignal): Promise<Buffer> {
    const endMs = performance.now() + this.#delayMs
    const byTimerMs = Math.floor(this.#delayMs - timerSlackMs)
    // An abort ends the wait; what it is then is the signal's reason, not the timer's.
    if (byTimerMs > 0) await delay(byTimerMs, undefined, signal === undefined ? {} : { signal }).catch(() => {})
    while (performance.now() < endMs && signal?.aborted !== true) await breathe()
    signal?.throwIfAborted()
    return this.#source.readRange(offsetBytes, lengthBytes, signal)
  }
}
