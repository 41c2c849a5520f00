import assert from 'node:assert/strict'
import { beforeEach, test } from 'node:test'
import { Database } from '../cluster/database.ts'
import { SqliteStore } from '../cluster/sqlite-store.ts'
import type { Store } from '../cluster/store.ts'
import { systemClock } from '../shared/clock.ts'
import { type ErrorCode, isRametError, RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import { EventLog } from './events.ts'
import { type OperationHandle, Operations } from './operations.ts'

const target = { kind: 'vm' as const, id: 'vm-1', name: 'web' }
const code = (wanted: ErrorCode) => (error: unknown) => isRametError(error, wanted)

let store: Store
let events: EventLog
let operations: Operations

beforeEach(() => {
  store = new SqliteStore(new Database(':memory:'))
  events = new EventLog(systemClock)
  operations = new Operations(store, systemClock, events)
})

/** Work that ends when it is cancelled. */
const untilCancelled = ({ signal }: OperationHandle) =>
  new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }))

test('an operation ends with its result, its error, or as cancelled', async () => {
  const done = await operations.begin('vm.start', target, undefined, async () => 7)
  assert.equal(await done.done, 7)
  assert.deepEqual(
    [operations.get(done.operation.id).state, operations.get(done.operation.id).result],
    ['succeeded', 7],
  )
  const failed = await operations.begin('vm.start', target, undefined, async () => {
    throw new RametError('TIMEOUT', { message: 'late' })
  })
  await assert.rejects(failed.done, code('TIMEOUT'))
  assert.equal((await operations.wait(failed.operation.id)).error?.code, 'TIMEOUT')
  const cancelled = await operations.begin('vm.start', target, undefined, untilCancelled)
  operations.cancel(cancelled.operation.id)
  assert.equal((await operations.wait(cancelled.operation.id)).state, 'cancelled')
  assert.throws(() => operations.cancel(cancelled.operation.id), code('ILLEGAL_STATE'))
  assert.throws(() => operations.cancel('op-none'), code('NOT_FOUND'))
})

test('whoever waits can go away', async () => {
  const { operation } = await operations.begin('vm.start', target, undefined, untilCancelled)
  const gone = new AbortController()
  const waiting = operations.wait(operation.id, gone.signal)
  gone.abort(new RametError('TIMEOUT', { message: 'enough' }))
  await assert.rejects(waiting, code('TIMEOUT'))
  await operations.stop()
})

test('nothing is told of how far an operation is that has ended', async () => {
  let told: OperationHandle | undefined
  const { operation, done } = await operations.begin('vm.stop', target, undefined, async (handle) => {
    told = handle
  })
  await done
  const types: string[] = []
  const subscription = events.subscribe(undefined, ({ type }) => void types.push(type))
  told?.progress({ stage: 'filling' })
  subscription.unsubscribe()
  assert.deepEqual(types, [])
  assert.equal(operations.get(operation.id).progress.stage, 'starting')
})

test('a result too large to be kept is told all the same', async () => {
  const large = 'x'.repeat(limits.storeValueBytes)
  const { operation, done } = await operations.begin('template.fork', target, undefined, async () => large)
  assert.equal(await done, large)
  assert.equal(operations.get(operation.id).state, 'succeeded')
  const later = new Operations(store, systemClock, events)
  await later.open()
  assert.equal(later.get(operation.id).state, 'succeeded')
  assert.equal(later.get(operation.id).result, undefined)
})

test('work that succeeded has, also when that cannot be written down', async () => {
  const { operation, done } = await operations.begin('vm.start', target, undefined, async () => {
    await store.close()
    return 7
  })
  assert.equal(await done, 7)
  assert.equal((await operations.wait(operation.id)).state, 'succeeded')
})

test('what was under way when a daemon ended has failed, and can be read by the next', async () => {
  const { operation } = await operations.begin('vm.start', target, undefined, untilCancelled)
  const later = new Operations(store, systemClock, events)
  await later.open()
  assert.equal(later.get(operation.id).state, 'failed')
  assert.ok(later.get(operation.id).finishedAt)
  await operations.stop()
})

test('a stop cancels all, and nothing begins after it', async () => {
  const { operation, done } = await operations.begin('vm.start', target, undefined, untilCancelled)
  await operations.stop()
  await assert.rejects(done, code('CANCELLED'))
  assert.equal(operations.get(operation.id).state, 'cancelled')
  await assert.rejects(
    operations.begin('vm.start', target, undefined, async () => 1),
    code('CANCELLED'),
  )
})

test('what is under way on one thing can be cancelled, by kind', async () => {
  const start = await operations.begin('vm.start', target, undefined, untilCancelled)
  const other = await operations.begin('vm.start', { ...target, id: 'vm-2' }, undefined, untilCancelled)
  const remove = await operations.begin('vm.remove', target, undefined, untilCancelled)
  const beside = await operations.begin('vm.start', { ...target, id: 'vm-3' }, undefined, untilCancelled, ['vm-1'])
  operations.cancelOn('vm-1', ['vm.start'], 'it goes')
  await assert.rejects(start.done, code('CANCELLED'))
  await assert.rejects(beside.done, code('CANCELLED'))
  assert.deepEqual(
    [other, remove].map(({ operation }) => operations.get(operation.id).state),
    ['running', 'running'],
  )
  await operations.stop()
})

test('the oldest are forgotten, newest first in the list', async () => {
  for (let count = 0; count < limits.operationHistoryCount + 5; count += 1) {
    await (await operations.begin('vm.start', target, undefined, async () => count)).done
  }
  const listed = operations.list()
  assert.equal(listed.length, limits.operationHistoryCount)
  assert.equal(listed[0]?.result, limits.operationHistoryCount + 4)
  assert.equal((await store.list('operations')).length, limits.operationHistoryCount)
})

test('an id that was used is refused', async () => {
  const { operation } = await operations.begin('vm.start', target, { operationId: 'op-a' }, async () => 1)
  assert.equal(operation.id, 'op-a')
  await assert.rejects(
    operations.begin('vm.start', target, { operationId: 'op-a' }, async () => 1),
    code('STORE_CONFLICT'),
  )
})
