import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Clock } from '../shared/clock.ts'
import { isRametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import { EventLog } from './events.ts'

const at = (nowMs: number): Clock => ({ nowMs: () => nowMs, monotonicMs: () => nowMs, sleep: async () => {} })
const emit = (log: EventLog, count = 1) => {
  for (let index = 0; index < count; index += 1)
    log.emit({ type: 'vm.created', resource: { kind: 'vm', id: `vm-${index}` } })
}

test('a subscriber gets what is kept after its last one, then what comes, each once and in order', () => {
  const log = new EventLog(at(1000))
  emit(log, 3)
  const got: number[] = []
  const { missed, latestId, unsubscribe } = log.subscribe(1001, ({ id }) => got.push(id))
  emit(log, 2)
  unsubscribe()
  emit(log)
  assert.deepEqual([missed, latestId, got], [false, 1003, [1002, 1003, 1004, 1005]])
})

test('whoever asks for nothing of the past gets nothing of it', () => {
  const log = new EventLog(at(1000))
  emit(log, 3)
  const got: number[] = []
  assert.equal(log.subscribe(undefined, ({ id }) => got.push(id)).missed, false)
  assert.deepEqual(got, [])
})

test('what was forgotten is missed, what was not is not', () => {
  const log = new EventLog(at(1000))
  emit(log, limits.eventHistoryCount + 10)
  assert.equal(log.subscribe(1010, () => {}).missed, false)
  assert.equal(log.subscribe(1009, () => {}).missed, true)
})

test('after a restart everything was missed, but for who had heard the very last', () => {
  const log = new EventLog(at(5000))
  assert.equal(log.subscribe(4000, () => {}).missed, true)
  assert.equal(log.subscribe(5000, () => {}).missed, false)
  emit(log)
  assert.equal(log.subscribe(5000, () => {}).missed, false)
  assert.equal(log.subscribe(9000, () => {}).missed, true, 'the clock was put back meanwhile')
})

test('subscribers are bounded', () => {
  const log = new EventLog(at(1000))
  const all = Array.from({ length: limits.eventSubscriberCount }, () => log.subscribe(undefined, () => {}))
  assert.throws(
    () => log.subscribe(undefined, () => {}),
    (error) => isRametError(error, 'NO_CAPACITY'),
  )
  all[0]?.unsubscribe()
  log.subscribe(undefined, () => {})
})
