import { limits } from '../../shared/limits.ts'
import type { EngineContext } from '../context.ts'

/** Longest delay that a timer of Node can have. */
const timerMaxMs = 2 ** 31 - 1

/** Removes vms whose time to live is over: one timer, set for the next to expire. */
export class TtlTimer {
  readonly #context: EngineContext
  /** called for a vm whose time is over */
  onExpire: (vmId: string) => void = () => {}
  #timer: NodeJS.Timeout | undefined

  constructor(context: EngineContext) {
    this.#context = context
  }

  /** To be called whenever a vm's expiry may have changed. */
  reschedule(): void {
    clearTimeout(this.#timer)
    const times = this.#context.vms.list().flatMap((vm) => (vm.expiresAtMs === undefined ? [] : [vm.expiresAtMs]))
    if (times.length === 0) return
    const delayMs = Math.max(0, Math.min(...times) - this.#context.clock.nowMs())
    this.#timer = setTimeout(() => this.#fire(), Math.min(delayMs, timerMaxMs)).unref()
  }

  stop(): void {
    clearTimeout(this.#timer)
  }

  #fire(): void {
    const nowMs = this.#context.clock.nowMs()
    for (const vm of this.#context.vms.list()) {
      if (vm.expiresAtMs !== undefined && vm.expiresAtMs <= nowMs && vm.state !== 'removing') this.onExpire(vm.id)
    }
    // What could not be removed is tried again, not in a loop without a pause.
    this.#timer = setTimeout(() => this.reschedule(), limits.ttlRetryMs).unref()
  }
}
