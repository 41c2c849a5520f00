import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import { test } from 'node:test'
import { limits } from '../shared/limits.ts'
import { Harness } from './testing/harness.ts'

const vm = { kind: 'vm', id: 'vm-1', name: 'web' } as const

/** Reads a stream until `count` events and comments have come. */
async function* blocks(response: IncomingMessage): AsyncGenerator<string> {
  let text = ''
  for await (const chunk of response) {
    text += String(chunk)
    const parts = text.split('\n\n')
    text = parts.pop() ?? ''
    yield* parts
  }
}

async function take(from: AsyncGenerator<string>, count: number): Promise<string[]> {
  const events: string[] = []
  while (events.length < count) {
    const next = await from.next()
    if (next.done) break
    if (!next.value.startsWith(':')) events.push(next.value)
  }
  return events
}

test('events come as they happen, with their numbers', async () => {
  await using harness = await Harness.start()
  harness.engine.emit('vm.created', vm)
  const response = await harness.open('GET', '/v1/events')
  assert.equal(response.headers['content-type'], 'text/event-stream')
  const stream = blocks(response)
  await stream.next()
  harness.engine.emit('vm.state', vm, { state: 'running' })
  const [event = ''] = await take(stream, 1)
  const [id, type, data] = event.split('\n')
  assert.equal(id, 'id: 2')
  assert.equal(type, 'event: vm.state')
  assert.deepEqual(JSON.parse(data?.replace('data: ', '') ?? '').data, { state: 'running' })
  response.destroy()
})

test('Last-Event-ID replays what was missed, once, then goes on', async () => {
  await using harness = await Harness.start()
  for (let i = 0; i < 5; i += 1) harness.engine.emit('vm.updated', vm)
  const response = await harness.open('GET', '/v1/events', { headers: { 'last-event-id': '3' } })
  const stream = blocks(response)
  const replayed = await take(stream, 2)
  harness.engine.emit('vm.removed', vm)
  const live = await take(stream, 1)
  assert.deepEqual(
    [...replayed, ...live].map((event) => event.split('\n')[0]),
    ['id: 4', 'id: 5', 'id: 6'],
  )
  response.destroy()
})

test('events that are forgotten are announced by a reset', async () => {
  await using harness = await Harness.start()
  for (let i = 0; i < 5; i += 1) harness.engine.emit('vm.updated', vm)
  harness.engine.oldestEventId = 5
  const response = await harness.open('GET', '/v1/events?after=1')
  const [reset = '', next = ''] = await take(blocks(response), 2)
  assert.equal(reset, 'event: reset\ndata: {"latestId":5}')
  assert.match(next, /^id: 5\n/)
  response.destroy()
})

test('only the kinds of resource wanted', async () => {
  await using harness = await Harness.start()
  harness.engine.emit('vm.created', vm)
  harness.engine.emit('image.created', { kind: 'image', id: 'img-1' })
  const response = await harness.open('GET', '/v1/events?after=0&resource=image')
  const [event = ''] = await take(blocks(response), 1)
  assert.match(event, /event: image\.created/)
  response.destroy()
})

test('a heartbeat keeps the stream alive', async () => {
  await using harness = await Harness.start({ heartbeatMs: 5 })
  const response = await harness.open('GET', '/v1/events')
  const stream = blocks(response)
  assert.equal((await stream.next()).value, ': hello')
  assert.equal((await stream.next()).value, ': still here')
  response.destroy()
})

test('subscribers are bounded, and one that goes makes room', async () => {
  await using harness = await Harness.start()
  const open: IncomingMessage[] = []
  for (let i = 0; i < limits.eventSubscriberCount; i += 1) open.push(await harness.open('GET', '/v1/events'))
  assert.equal((await harness.call('GET', '/v1/events')).problem().code, 'NO_CAPACITY')
  assert.equal(harness.engine.bus.listenerCount('event'), limits.eventSubscriberCount)
  open.pop()?.destroy()
  while (harness.engine.bus.listenerCount('event') === limits.eventSubscriberCount) await new Promise(setImmediate)
  const again = await harness.open('GET', '/v1/events')
  assert.equal(again.statusCode, 200)
  for (const response of [...open, again]) response.destroy()
})

test('a client that does not read is cut off', async () => {
  await using harness = await Harness.start()
  const response = await harness.open('GET', '/v1/events')
  response.pause()
  const data = { filler: 'x'.repeat(64 * 1024) }
  while (harness.engine.bus.listenerCount('event') > 0) {
    harness.engine.emit('vm.updated', vm, data)
    await new Promise(setImmediate)
    assert.ok(harness.engine.events.length < 1000, 'cut off after a bounded backlog')
  }
  response.on('error', () => {}).destroy()
})

test('a Last-Event-ID that is none is refused', async () => {
  await using harness = await Harness.start()
  const refused = await harness.call('GET', '/v1/events', { headers: { 'last-event-id': 'x' } })
  assert.match(refused.problem().detail, /last-event-id/)
})
