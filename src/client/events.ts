import type { Event, ResourceKind } from '../api/event.ts'
import { Retry } from './back-off.ts'
import { RametApiError } from './errors.ts'
import { serverSentEvents } from './server-sent-events.ts'
import type { Transport } from './transport.ts'

/** Options of {@link Ramet.events}. */
export interface EventsOptions {
  /** Begin with what came after this event, as far as it is remembered; with what comes when left out. */
  afterId?: number
  /** Ends the iteration without an error. */
  signal?: AbortSignal
  /** Events after the last one seen have been forgotten: list again what you follow. */
  onReset?: () => void
  /** Only events of these kinds of things. */
  resources?: readonly ResourceKind[]
}

/** Events as they happen, over restarts of the daemon too: after a break it goes on where it was. */
export async function* followEvents(transport: Transport, options: EventsOptions = {}): AsyncGenerator<Event> {
  const signal = transport.withDefault(options.signal)
  const retry = new Retry()
  let lastId = options.afterId
  while (signal?.aborted !== true) {
    try {
      const body = await transport.stream({
        path: '/v1/events',
        query: { resource: options.resources },
        headers: {
          accept: 'text/event-stream',
          ...(lastId === undefined ? {} : { 'last-event-id': String(lastId) }),
        },
        signal,
      })
      for await (const event of serverSentEvents(body)) {
        retry.reset()
        if (event.type === 'reset') {
          lastId = latestIdOf(event.data) ?? lastId
          options.onReset?.()
        } else {
          const parsed = JSON.parse(event.data) as Event
          lastId = parsed.id
          yield parsed
        }
      }
    } catch (error) {
      if (signal?.aborted) return
      if (error instanceof RametApiError && !error.retryable) throw error
      if (!(await retry.again(signal).catch(() => false))) throw error
      continue
    }
    if (signal?.aborted || !(await retry.again(signal).catch(() => false))) return
  }
}

function latestIdOf(data: string): number | undefined {
  const value: unknown = JSON.parse(data)
  return typeof value === 'object' && value !== null && 'latestId' in value && typeof value.latestId === 'number'
    ? value.latestId
    : undefined
}
