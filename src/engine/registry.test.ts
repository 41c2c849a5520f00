import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Database } from '../cluster/database.ts'
import { SqliteStore } from '../cluster/sqlite-store.ts'
import type { Store } from '../cluster/store.ts'
import { type ErrorCode, isRametError } from '../shared/errors.ts'
import { Registry } from './registry.ts'

interface Thing {
  schemaVersion: 1
  id: string
  name: string
  count?: number
}

const thing = (id: string, name: string): Thing => ({ schemaVersion: 1, id, name })
const code = (wanted: ErrorCode) => (error: unknown) => isRametError(error, wanted)
const newStore = () => new SqliteStore(new Database(':memory:'))
const open = (store: Store) => Registry.open<Thing>(store, 'things', 'thing', 'VM_NOT_FOUND')

test('a record is found by id and by name, also by the next daemon', async () => {
  const store = newStore()
  const things = await open(store)
  await things.create(thing('t-1', 'one'))
  await things.update('t-1', { name: 'uno', count: 3 })
  for (const registry of [things, await open(store)]) {
    assert.deepEqual(registry.find('uno'), { ...thing('t-1', 'uno'), count: 3 })
    assert.equal(registry.find('t-1').name, 'uno')
    assert.throws(() => registry.find('one'), code('VM_NOT_FOUND'))
  }
})

test('a field that becomes undefined is gone', async () => {
  const things = await open(newStore())
  await things.create({ ...thing('t-1', 'one'), count: 3 })
  await things.update('t-1', { count: undefined })
  assert.deepEqual(Object.keys(things.find('one')), ['schemaVersion', 'id', 'name'])
})

test('of many who want a name at once, by creating or by renaming, one gets it', async () => {
  const things = await open(newStore())
  await things.create(thing('t-1', 'a'))
  await things.create(thing('t-2', 'b'))
  const outcomes = await Promise.allSettled([
    things.update('t-1', { name: 'wanted' }),
    Promise.resolve().then(() => things.create(thing('t-3', 'wanted'))),
    things.update('t-2', { name: 'wanted' }),
    Promise.resolve()
      .then(() => Promise.resolve())
      .then(() => things.create(thing('t-4', 'wanted'))),
  ])
  assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1)
  assert.equal(things.list().filter(({ name }) => name === 'wanted').length, 1)
})

test('updates are applied one after another, to what the one before has left', async () => {
  const things = await open(newStore())
  await things.create(thing('t-1', 'one'))
  await Promise.all(Array.from({ length: 20 }, () => things.update('t-1', ({ count = 0 }) => ({ count: count + 1 }))))
  assert.equal(things.find('one').count, 20)
})

test('a commit that fails changes nothing and frees the name', async () => {
  const store = newStore()
  const things = await open(store)
  await things.create(thing('t-1', 'one'))
  const tooLarge = 'x'.repeat(2 ** 21)
  await assert.rejects(things.create(thing('t-2', tooLarge)), code('TOO_LARGE'))
  assert.equal(things.nameTaken(tooLarge), false)
  await assert.rejects(things.update('t-1', { name: tooLarge }), code('TOO_LARGE'))
  assert.equal(things.nameTaken(tooLarge), false)
  assert.equal(things.find('one').id, 't-1')
  await assert.rejects(
    things.update('t-1', () => {
      throw new TypeError('no')
    }),
  )
  assert.equal((await things.update('t-1', { count: 1 })).count, 1)
})

test('an update of what was removed meanwhile is refused; a removal can be repeated', async () => {
  const things = await open(newStore())
  await things.create(thing('t-1', 'one'))
  const [, updated] = await Promise.allSettled([things.remove('t-1'), things.update('t-1', { count: 1 })])
  assert.equal(updated.status, 'rejected')
  await things.remove('t-1')
  await things.create(thing('t-1', 'one'))
})

test('a list keeps its order over updates', async () => {
  const things = await open(newStore())
  for (const id of ['t-1', 't-2', 't-3']) await things.create(thing(id, id))
  await things.update('t-1', { name: 'first', count: 1 })
  assert.deepEqual(
    things.list().map(({ id }) => id),
    ['t-1', 't-2', 't-3'],
  )
})
