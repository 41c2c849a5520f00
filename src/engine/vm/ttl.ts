import { limits } from '../../shared/limits.ts'
import type { EngineContext } from '../context.ts'

/** Longest delay that a timer of Node can have. */
const timerMaxMs = 2 ** 31 - 1

/** Removes vms and snapshots whose time to live is over: one timer, set for the next to expire. */
export class TtlTimer {
  readonly #context: EngineContext
  /** called for a vm whose time is over */
  onExpire: (vmId: string) => void = () => {}
  /** called for a snapshot whose time is over */
  onSnapshotExpire: (snapshotId: string) => void = () => {}
  #timer: NodeJS.Timeout | undefined

  constructor(context: EngineContext) {
    this.#context = context
  }

  /** To be called whenever an expiry may have changed. */
  reschedule(): void {
    clearTimeout(this.#timer)
    const times = this.#all().flatMap(({ expiresAtMs }) => (expiresAtMs === undefined ? [] : [expiresAtMs]))
    if (times.length === 0) return
    const delayMs = Math.max(0, Math.min(...times) - this.#context.clock.nowMs())
    this.#timer = setTimeout(() => this.#fire(), Math.min(delayMs, timerMaxMs)).unref()
  }

  stop(): void {
    clearTimeout(this.#timer)
  }

  #all(): { id: string; state: string; expiresAtMs?: number; expire: (id: string) => void }[] {
    const { vms, snapshots } = this.#context
    return [
      ...vms.list().map((vm) => ({ ...vm, expire: this.onExpire })),
      ...snapshots.list().map((snapshot) => ({ ...snapshot, expire: this.onSnapshotExpire })),
    ]
  }

  #fire(): void {
    const nowMs = this.#context.clock.nowMs()
    for (const { id, state, expiresAtMs, expire } of this.#all()) {
      if (expiresAtMs !== undefined && expiresAtMs <= nowMs && state !== 'removing') expire(id)
    }
    // What could not be removed is tried again, not in a loop without a pause.
    this.#timer = setTimeout(() => this.reschedule(), limits.ttlRetryMs).unref()
  }
}
