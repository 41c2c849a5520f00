import type { Event, EventType, ResourceKind } from '../api/event.ts'
import type { Clock } from '../shared/clock.ts'
import { RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import type { EventSubscription } from './contract.ts'

export interface EventDraft {
  type: EventType
  resource: { kind: ResourceKind; id: string; name?: string }
  data?: Record<string, unknown>
}

/**
 * The recent past, and whoever listens. Numbers begin at the wall clock in milliseconds and rise by
 * one, so that they also rise over restarts without being stored.
 */
export class EventLog {
  readonly #clock: Clock
  readonly #history: Event[] = []
  readonly #listeners = new Set<(event: Event) => void>()
  readonly #firstId: number
  #latestId: number

  constructor(clock: Clock) {
    this.#clock = clock
    this.#latestId = Math.floor(clock.nowMs())
    this.#firstId = this.#latestId + 1
  }

  emit(draft: EventDraft): void {
    this.#latestId += 1
    const event: Event = {
      id: this.#latestId,
      at: new Date(this.#clock.nowMs()).toISOString(),
      type: draft.type,
      resource: draft.resource,
      data: draft.data ?? {},
    }
    this.#history.push(event)
    if (this.#history.length > limits.eventHistoryCount) this.#history.shift()
    for (const listener of this.#listeners) listener(event)
  }

  /** @throws RametError `NO_CAPACITY` when too many listen */
  subscribe(afterId: number | undefined, listener: (event: Event) => void): EventSubscription {
    if (this.#listeners.size >= limits.eventSubscriberCount)
      throw new RametError('NO_CAPACITY', {
        message: `${limits.eventSubscriberCount} subscribers follow events already`,
      })
    const oldestId = this.#history[0]?.id ?? this.#latestId + 1
    // An id that is yet to come is of an earlier daemon, whose clock was ahead of today's.
    const isKnown = afterId === this.#latestId || (afterId !== undefined && afterId < this.#latestId)
    const missed = afterId !== undefined && (!isKnown || afterId < oldestId - 1 || afterId < this.#firstId - 1)
    if (afterId !== undefined) for (const event of this.#history) if (event.id > afterId) listener(event)
    this.#listeners.add(listener)
    return { missed, latestId: this.#latestId, unsubscribe: () => this.#listeners.delete(listener) }
  }
}
