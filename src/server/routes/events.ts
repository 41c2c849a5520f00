import { z } from 'zod'
import { Event, resourceKinds } from '../../api/event.ts'
import { queryList } from '../../api/primitives.ts'
import type { EventSubscription } from '../../engine/contract.ts'
import { RametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import { type Route, streamRoute } from '../route.ts'
import { EventStream, eventStreamHeaders } from '../sse.ts'

const eventNumber = z.coerce.number().int().nonnegative()

/** Made per server, as it counts the subscribers. */
export function eventRoutes(): Route[] {
  let subscribers = 0
  return [
    streamRoute({
      operationId: 'followEvents',
      method: 'GET',
      path: '/v1/events',
      tag: 'events',
      summary: 'Follow what happens, as server-sent events',
      description:
        'With the header `Last-Event-ID`, or `after`, the events since then come first. If they have been ' +
        'forgotten an event `reset` says so: list again what you follow. A client that reads too slowly is cut off.',
      query: z.strictObject({
        after: eventNumber.optional().describe('Id of the last event seen; as the header Last-Event-ID.'),
        resource: queryList(z.enum(resourceKinds)).describe('Only events of resources of these kinds.'),
      }),
      answer: { status: 200, contentType: 'text/event-stream', description: 'Events as they happen.', schema: Event },
      errors: ['NO_CAPACITY'],
      handle: async ({ engine, query, header, heartbeatMs }) => {
        if (subscribers >= limits.eventSubscriberCount)
          throw new RametError('NO_CAPACITY', {
            message: `${limits.eventSubscriberCount} clients follow events already`,
            remediation: 'Close one of them, then call again.',
          })
        const afterId = query.after ?? lastEventId(header('last-event-id'))
        const wanted = query.resource === undefined ? undefined : new Set(query.resource)
        let subscription: EventSubscription | undefined
        subscribers += 1
        const stream = new EventStream(heartbeatMs, () => {
          subscribers -= 1
          subscription?.unsubscribe()
        })
        // Replayed events come before `subscribeEvents` returns, and a `reset` has to come before them.
        const replayed: Event[] = []
        let live = false
        const send = (event: Event) => {
          if (wanted === undefined || wanted.has(event.resource.kind)) stream.event(event.type, event, event.id)
        }
        subscription = engine.subscribeEvents({ afterId }, (event) => {
          if (live) send(event)
          else replayed.push(event)
        })
        if (subscription.missed) stream.event('reset', { latestId: subscription.latestId })
        for (const event of replayed) send(event)
        live = true
        return { contentType: 'text/event-stream', headers: eventStreamHeaders, payload: stream }
      },
    }),
  ]
}

/** @throws RametError `INVALID_ARGUMENT` */
function lastEventId(text: string | undefined): number | undefined {
  if (text === undefined || text === '') return undefined
  const id = eventNumber.safeParse(text)
  if (id.success) return id.data
  throw new RametError('INVALID_ARGUMENT', { message: 'header.last-event-id: not the id of an event' })
}
