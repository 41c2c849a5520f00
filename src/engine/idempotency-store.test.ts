import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Database } from '../cluster/database.ts'
import { SqliteStore } from '../cluster/sqlite-store.ts'
import { limits } from '../shared/limits.ts'
import { StoredIdempotency } from './idempotency-store.ts'

const record = (key: string) => ({ key, fingerprint: 'f', operationId: 'op-1' })

function fresh() {
  const time = { nowMs: 1e12 }
  const store = new SqliteStore(new Database(':memory:'))
  const clock = { nowMs: () => time.nowMs, monotonicMs: () => time.nowMs, sleep: async () => {} }
  return { time, store, keys: new StoredIdempotency(store, clock) }
}

test('the first to come begins; later ones get its record, and its answer once there is one', async () => {
  const { keys } = fresh()
  const key = 'any text: ünïcode, / and spaces'
  assert.equal(await keys.begin(record(key)), undefined)
  assert.deepEqual(await keys.begin({ ...record(key), operationId: 'op-2' }), record(key))
  const answer = { status: 200, headers: {}, body: '{}' }
  await keys.finish(key, answer)
  assert.deepEqual(await keys.begin(record(key)), { ...record(key), answer })
})

test('an answer too large to be kept leaves the record', async () => {
  const { keys } = fresh()
  await keys.begin(record('a'))
  await keys.finish('a', { status: 200, headers: {}, body: 'x'.repeat(limits.storeValueBytes) })
  assert.deepEqual(await keys.begin(record('a')), record('a'))
})

test('a key that was freed, or has expired, begins anew', async () => {
  const { keys, time } = fresh()
  await keys.begin(record('a'))
  await keys.forget('a')
  assert.equal(await keys.begin(record('a')), undefined)
  time.nowMs += limits.idempotencyTtlMs + 1
  assert.equal(await keys.begin(record('a')), undefined)
  await keys.finish('never begun', { status: 200, headers: {}, body: '' })
})

test('what has expired goes as others come', async () => {
  const { keys, time, store } = fresh()
  for (let count = 0; count < 10; count += 1) await keys.begin(record(`old-${count}`))
  time.nowMs += limits.idempotencyTtlMs + 1
  await keys.begin(record('new'))
  assert.equal((await store.list('idempotency')).length, 1)
})
