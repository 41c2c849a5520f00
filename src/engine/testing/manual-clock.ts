import { setImmediate as turn } from 'node:timers/promises'
import type { Clock } from '../../shared/clock.ts'

interface Sleeper {
  atMs: number
  wake: () => void
}

/** A clock that stands until it is told to go on. */
export class ManualClock implements Clock {
  /** how often somebody was woken */
  wakeCount = 0
  #nowMs = 1_000_000
  readonly #sleepers = new Set<Sleeper>()

  nowMs(): number {
    return this.#nowMs
  }

  monotonicMs(): number {
    return this.#nowMs
  }

  get sleeperCount(): number {
    return this.#sleepers.size
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const sleeper = { atMs: this.#nowMs + ms, wake: resolve }
    this.#sleepers.add(sleeper)
    const onAbort = () => {
      this.#sleepers.delete(sleeper)
      reject(signal?.reason)
    }
    if (signal?.aborted) onAbort()
    signal?.addEventListener('abort', onAbort, { once: true })
    return promise
  }

  /** Lets this much time pass, and whoever wakes in it have its turn. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms
    for (;;) {
      const [next] = [...this.#sleepers].sort((a, b) => a.atMs - b.atMs)
      if (next === undefined || next.atMs > endMs) break
      this.#nowMs = Math.max(this.#nowMs, next.atMs)
      this.#sleepers.delete(next)
      this.wakeCount += 1
      next.wake()
      await turn()
    }
    this.#nowMs = endMs
  }
}
