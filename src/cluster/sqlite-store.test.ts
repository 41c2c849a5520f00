import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isRametError } from '../shared/errors.ts'
import { Bucket } from './bucket.ts'
import { Database } from './database.ts'
import { SqliteStore } from './sqlite-store.ts'
import { storeSuite } from './store-suite.ts'

storeSuite('sqlite', async () => new SqliteStore(new Database(':memory:')))

function parseCount(value: unknown): { count: number } {
  if (typeof value === 'object' && value !== null && 'count' in value && typeof value.count === 'number')
    return { count: value.count }
  throw new Error('no count')
}

test('a bucket gives typed values, and refuses what it does not understand', async () => {
  const store = new SqliteStore(new Database(':memory:'))
  const bucket = new Bucket(store, 'counts', parseCount)
  const created = await bucket.create('a', { count: 1 })
  const updated = await bucket.update(created, { count: 2 })
  assert.deepEqual(await bucket.get('a'), updated)
  await assert.rejects(bucket.update(created, { count: 3 }), (error) => isRametError(error, 'STORE_CONFLICT'))
  await store.commit([bucket.updating(updated, { count: 4 }), bucket.creating('b', { count: 5 })])
  assert.deepEqual(
    (await bucket.list()).map(({ value }) => value.count),
    [4, 5],
  )
  await store.commit([bucket.deleting('b')])
  await bucket.delete('a')
  assert.deepEqual(await bucket.list(), [])

  await store.create('counts', 'odd', { cout: 1 })
  await assert.rejects(
    bucket.get('odd'),
    (error) => isRametError(error, 'STORE_DAMAGED') && error.message.includes('counts/odd'),
  )
  await store.close()
})
