import { type Clock, systemClock } from '../shared/clock.ts'

/** How long to go on trying, and how often. All in milliseconds. */
export interface BackOff {
  /** first pause; each is twice the one before */
  firstMs: number
  /** no pause is longer */
  mostMs: number
  /** give up when this much has passed since the first failure */
  totalMs: number
}

/** Long enough for a daemon to be restarted, and as long as a guest keeps a process whose client is lost. */
export const reconnecting: BackOff = { firstMs: 25, mostMs: 1_000, totalMs: 60_000 }

/** Counts failures in a row. `reset` after a success; `again` waits, or answers false when it is time to give up. */
export class Retry {
  readonly #backOff: BackOff
  readonly #clock: Clock
  #failures = 0
  #sinceMs = 0

  constructor(backOff: BackOff = reconnecting, clock: Clock = systemClock) {
    this.#backOff = backOff
    this.#clock = clock
  }

  reset(): void {
    this.#failures = 0
  }

  /** @throws the signal's reason */
  async again(signal?: AbortSignal): Promise<boolean> {
    const nowMs = this.#clock.monotonicMs()
    if (this.#failures === 0) this.#sinceMs = nowMs
    const leftMs = this.#backOff.totalMs - (nowMs - this.#sinceMs)
    if (leftMs <= 0) return false
    const pauseMs = Math.min(this.#backOff.firstMs * 2 ** Math.min(this.#failures, 20), this.#backOff.mostMs, leftMs)
    this.#failures += 1
    await this.#clock.sleep(pauseMs, signal)
    return true
  }
}
