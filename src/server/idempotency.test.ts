import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RametError } from '../shared/errors.ts'
import { memoryIdempotencyStore } from './idempotency.ts'
import { FakeEngine } from './testing/fake-engine.ts'
import { Harness } from './testing/harness.ts'

const headers = { 'idempotency-key': 'key-1' }
const body = { image: 'micro', name: 'web' }

test('the same key with the same body takes place once and has one answer', async () => {
  await using harness = await Harness.start()
  const first = await harness.call('POST', '/v1/vms', { body, headers })
  const second = await harness.call('POST', '/v1/vms', { body, headers })
  assert.equal(second.status, 201)
  assert.deepEqual(second.json(), first.json())
  assert.deepEqual(harness.engine.calls, ['createVm'])
  const accepted = await harness.call('POST', '/v1/vms?wait=false', { body, headers })
  assert.equal(accepted.status, 202)
  assert.equal(accepted.headers['ramet-operation'], first.headers['ramet-operation'])
})

test('the same key with another body, or for another route, is a conflict', async () => {
  await using harness = await Harness.start()
  await harness.call('POST', '/v1/vms', { body, headers })
  const other = await harness.call('POST', '/v1/vms', { body: { ...body, name: 'other' }, headers })
  assert.equal(other.problem().code, 'IDEMPOTENCY_MISMATCH')
  const route = await harness.call('POST', '/v1/vms/web/clone', { body: { name: 'web' }, headers })
  assert.equal(route.problem().code, 'IDEMPOTENCY_MISMATCH')
})

test('duplicates that come at once wait for the first', async () => {
  await using harness = await Harness.start()
  const gate = Promise.withResolvers<void>()
  harness.engine.gate = gate.promise
  const calls = [1, 2, 3].map(() => harness.call('POST', '/v1/vms', { body, headers }))
  const different = harness.call('POST', '/v1/vms', { body: { image: 'micro' }, headers })
  assert.equal((await different).problem().code, 'IDEMPOTENCY_MISMATCH')
  gate.resolve()
  const answers = await Promise.all(calls)
  for (const answer of answers) assert.deepEqual(answer.json(), answers[0]?.json())
  assert.equal(harness.engine.vms.size, 1)
})

test('a refusal frees the key, since nothing was done', async () => {
  await using harness = await Harness.start()
  harness.engine.failNext = new RametError('NO_CAPACITY', { message: 'no memory left' })
  assert.equal((await harness.call('POST', '/v1/vms', { body, headers })).problem().code, 'NO_CAPACITY')
  assert.equal((await harness.call('POST', '/v1/vms', { body, headers })).status, 201)
})

test('a failed operation has its failure as its answer', async () => {
  await using harness = await Harness.start()
  harness.engine.gate = Promise.reject(new RametError('GUEST_PANIC', { message: 'the guest panicked at boot' }))
  harness.engine.gate.catch(() => {})
  const first = await harness.call('POST', '/v1/vms', { body, headers })
  const second = await harness.call('POST', '/v1/vms', { body, headers })
  assert.equal(first.problem().code, 'GUEST_PANIC')
  assert.equal(second.problem().detail, first.problem().detail)
  assert.equal(harness.engine.calls.length, 1)
})

test('a new daemon finds the operation that the one before it began', async () => {
  const engine = new FakeEngine()
  const idempotency = memoryIdempotencyStore()
  const gate = Promise.withResolvers<void>()
  engine.gate = gate.promise
  let operation: unknown
  {
    await using before = await Harness.start({ engine, idempotency })
    const accepted = await before.call('POST', '/v1/vms?wait=false', { body, headers })
    operation = accepted.headers['ramet-operation']
  }
  await using after = await Harness.start({ engine, idempotency })
  const again = after.call('POST', '/v1/vms', { body, headers })
  gate.resolve()
  assert.equal((await again).status, 201)
  assert.equal((await again).headers['ramet-operation'], operation)
  assert.equal(engine.vms.size, 1)
})

test('a new daemon does what the one before it had only written down', async () => {
  const idempotency = memoryIdempotencyStore()
  const begin = idempotency.begin.bind(idempotency)
  // The daemon before died between writing down the key and calling the engine.
  idempotency.begin = async (record) => {
    idempotency.begin = begin
    await begin({ ...record, operationId: 'op-written-down' })
    return await begin(record)
  }
  await using harness = await Harness.start({ idempotency })
  const made = await harness.call('POST', '/v1/vms', { body, headers })
  assert.equal(made.status, 201)
  assert.equal(made.headers['ramet-operation'], 'op-written-down')
})

test('calls without an operation keep their answer', async () => {
  await using harness = await Harness.start()
  await harness.call('POST', '/v1/vms', { body })
  const port = { body: { guestPort: 80 }, headers: { 'idempotency-key': 'port' } }
  const first = await harness.call('POST', '/v1/vms/web/ports', port)
  const second = await harness.call('POST', '/v1/vms/web/ports', port)
  assert.equal(first.status, 201)
  assert.deepEqual(second.json(), first.json())
  assert.equal(harness.engine.calls.filter((call) => call === 'publishPort').length, 1)
})

test('a key that is no key is refused', async () => {
  await using harness = await Harness.start()
  for (const key of ['', 'a b', 'x'.repeat(256)]) {
    const refused = await harness.call('POST', '/v1/vms', { body, headers: { 'idempotency-key': key } })
    assert.match(refused.problem().detail, /idempotency-key/)
  }
})
