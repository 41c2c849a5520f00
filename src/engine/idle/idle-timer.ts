import type { Clock } from '../../shared/clock.ts'
import { limits } from '../../shared/limits.ts'
import type { Uses } from '../uses.ts'

/** What is known of a vm that nobody uses. All times are monotonic. */
interface Watch {
  /** since when it has done nothing */
  quietSinceMs: number
  lookedAtMs: number
  /** processor time that it had used by then */
  cpuMs: number
}

/** What the timer asks of the vms, and what it tells. */
export interface IdleSubjects {
  /** how long it has to be idle to do something by itself, milliseconds; undefined while there is nothing to do */
  spanMsOf(vmId: string): number | undefined
  /** processor time of its QEMU so far, milliseconds; undefined when there is none */
  cpuMsOf(vmId: string): number | undefined
  /** it has been idle for long enough; it is watched again from the next `begin` on */
  onIdle(vmId: string): void
}

/**
 * Finds the vms that are idle: nobody has used them for a time of their own, and they have not computed. For the
 * latter their processor time is looked at a few times in that span, so that neither a burst long ago nor one just
 * begun is averaged away. One timer for all, set for the next look; without a vm to watch there is none.
 */
export class IdleTimer {
  readonly #clock: Clock
  readonly #uses: Uses
  readonly #subjects: IdleSubjects
  readonly #watched = new Map<string, Watch>()
  #wake = new AbortController()
  #wakeAtMs = Number.POSITIVE_INFINITY
  #stopped = false

  constructor(clock: Clock, uses: Uses, subjects: IdleSubjects) {
    this.#clock = clock
    this.#uses = uses
    this.#subjects = subjects
    uses.onUnused = (vmId) => this.begin(vmId)
  }

  /** Its time begins now: it has come out of use, or was told another span. */
  begin(vmId: string): void {
    const spanMs = this.#stopped ? undefined : this.#subjects.spanMsOf(vmId)
    if (spanMs === undefined) return void this.#watched.delete(vmId)
    const nowMs = this.#clock.monotonicMs()
    const watch = { quietSinceMs: nowMs, lookedAtMs: nowMs, cpuMs: this.#subjects.cpuMsOf(vmId) ?? 0 }
    this.#watched.set(vmId, watch)
    this.#wakeBy(nextLookMs(watch, spanMs))
  }

  stop(): void {
    this.#stopped = true
    this.#watched.clear()
    this.#wake.abort()
  }

  #wakeBy(atMs: number): void {
    if (atMs >= this.#wakeAtMs) return
    this.#wake.abort()
    const wake = new AbortController()
    this.#wake = wake
    this.#wakeAtMs = atMs
    const delayMs = Math.max(0, atMs - this.#clock.monotonicMs())
    this.#clock.sleep(Math.min(delayMs, limits.timerMaxMs), wake.signal).then(
      () => this.#look(),
      // Set anew, or stopped.
      () => {},
    )
  }

  #look(): void {
    if (this.#stopped) return
    this.#wakeAtMs = Number.POSITIVE_INFINITY
    const nowMs = this.#clock.monotonicMs()
    let nextMs = Number.POSITIVE_INFINITY
    for (const [vmId, watch] of this.#watched) nextMs = Math.min(nextMs, this.#lookAt(vmId, watch, nowMs))
    if (nextMs < Number.POSITIVE_INFINITY) this.#wakeBy(nextMs)
  }

  /** @returns when to look at it again */
  #lookAt(vmId: string, watch: Watch, nowMs: number): number {
    const spanMs = this.#subjects.spanMsOf(vmId)
    if (spanMs === undefined || this.#uses.isHeld(vmId)) {
      // Its time begins anew when it has come out of use.
      this.#watched.delete(vmId)
      return Number.POSITIVE_INFINITY
    }
    if (nowMs < nextLookMs(watch, spanMs)) return nextLookMs(watch, spanMs)
    const cpuMs = this.#subjects.cpuMsOf(vmId) ?? watch.cpuMs
    const isBusy = cpuMs - watch.cpuMs > (nowMs - watch.lookedAtMs) * limits.idleCpuFraction
    const quietSinceMs = isBusy ? nowMs : watch.quietSinceMs
    const looked = { quietSinceMs, lookedAtMs: nowMs, cpuMs }
    this.#watched.set(vmId, looked)
    if (nowMs - quietSinceMs < spanMs) return nextLookMs(looked, spanMs)
    this.#watched.delete(vmId)
    this.#subjects.onIdle(vmId)
    return Number.POSITIVE_INFINITY
  }
}

function nextLookMs(watch: Watch, spanMs: number): number {
  return Math.min(watch.quietSinceMs + spanMs, watch.lookedAtMs + spanMs / limits.idleLookCount)
}
