import type { Clock } from '../../shared/clock.ts'
import { limits } from '../../shared/limits.ts'

/**
 * How much of what nobody waits for may be sent now. At full speed while no guest asks for anything; while it does, only
 * so much a second that its requests are hardly in the way of each other; everything at once in a hurry.
 */
export class Pace {
  isHurried = false
  readonly #clock: Clock
  readonly #unreadBytes: () => number
  #lastFaultMs = Number.NEGATIVE_INFINITY
  #allowedBytes = 0
  #refilledMs: number

  /** @param unreadBytes that QEMU has not taken yet: what is asked for now waits behind them */
  constructor(clock: Clock, unreadBytes: () => number) {
    this.#clock = clock
    this.#unreadBytes = unreadBytes
    this.#refilledMs = clock.monotonicMs()
  }

  /** A guest asked for a page. */
  fault(): void {
    this.#lastFaultMs = this.#clock.monotonicMs()
  }

  /** @returns whether a burst of `limits.pageServerBurstPages` may go, or a smaller one, or after how long to ask again */
  next(): 'burst' | 'small' | { waitMs: number } {
    const nowMs = this.#clock.monotonicMs()
    if (this.isHurried || nowMs - this.#lastFaultMs >= limits.pageServerQuietMs) return 'burst'
    const earned = ((nowMs - this.#refilledMs) * limits.pageServerBusyBytesPerSecond) / 1000
    this.#allowedBytes = Math.min(2 * smallBytes, this.#allowedBytes + earned)
    this.#refilledMs = nowMs
    const isBehind = this.#unreadBytes() > limits.pageServerBusyQueueBytes
    if (isBehind || this.#allowedBytes < smallBytes) return { waitMs: 1 }
    this.#allowedBytes -= smallBytes
    return 'small'
  }
}

const smallBytes = limits.pageServerSmallBurstPages * 4096
