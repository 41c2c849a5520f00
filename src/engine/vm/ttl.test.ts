import assert from 'node:assert/strict'
import { afterEach, beforeEach, mock, test } from 'node:test'
import { limits } from '../../shared/limits.ts'
import type { EngineContext } from '../context.ts'
import type { SnapshotRecord, VmRecord } from '../records.ts'
import { TtlTimer } from './ttl.ts'
import { ttlChanged, ttlPaused, ttlResumed, ttlStarted } from './ttl-changes.ts'

let vms: Partial<VmRecord>[]
let snapshots: Partial<SnapshotRecord>[]
let expired: string[]
let timer: TtlTimer

beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1000 })
  vms = []
  snapshots = []
  expired = []
  const context = {
    vms: { list: () => vms },
    snapshots: { list: () => snapshots },
    clock: { nowMs: () => Date.now() },
  } as unknown as EngineContext
  timer = new TtlTimer(context)
  timer.onExpire = (id) => void expired.push(id)
  timer.onSnapshotExpire = (id) => void expired.push(`snapshot ${id}`)
})
afterEach(() => {
  timer.stop()
  mock.timers.reset()
})

test('each vm expires when its time is over, not before', () => {
  vms = [{ id: 'b', expiresAtMs: 3000 }, { id: 'a', expiresAtMs: 2000 }, { id: 'never' }]
  timer.reschedule()
  mock.timers.tick(999)
  assert.deepEqual(expired, [])
  mock.timers.tick(1)
  assert.deepEqual(expired, ['a'])
  vms = vms.filter(({ id }) => id !== 'a')
  timer.reschedule()
  mock.timers.tick(1000)
  assert.deepEqual(expired, ['a', 'b'])
})

test('snapshots expire by the same timer', () => {
  vms = [{ id: 'a', expiresAtMs: 3000 }]
  snapshots = [{ id: 's', expiresAtMs: 2000 }, { id: 'kept' }]
  timer.reschedule()
  mock.timers.tick(1000)
  assert.deepEqual(expired, ['snapshot s'])
  snapshots = []
  timer.reschedule()
  mock.timers.tick(1000)
  assert.deepEqual(expired, ['snapshot s', 'a'])
})

test('what could not be removed is tried again after a pause; what is being removed is left alone', () => {
  vms = [
    { id: 'stuck', expiresAtMs: 500 },
    { id: 'going', expiresAtMs: 500, state: 'removing' },
  ]
  timer.reschedule()
  mock.timers.tick(1)
  assert.deepEqual(expired, ['stuck'])
  mock.timers.tick(limits.ttlRetryMs + 1)
  assert.deepEqual(expired, ['stuck', 'stuck'])
})

test('a time to live longer than a timer of Node can be does not expire at once', () => {
  vms = [{ id: 'a', expiresAtMs: 1000 + 60 * 24 * 3600_000 }]
  timer.reschedule()
  mock.timers.tick(1000)
  assert.deepEqual(expired, [])
})

test('a timer that was stopped does nothing', () => {
  vms = [{ id: 'a', expiresAtMs: 2000 }]
  timer.reschedule()
  timer.stop()
  mock.timers.tick(5000)
  assert.deepEqual(expired, [])
})

test('time stands while a vm is paused', () => {
  const started = ttlStarted({ ttlMs: 100 }, 1000)
  assert.equal(started.expiresAtMs, 1100)
  const paused = ttlPaused({ expiresAtMs: 1100 }, 1030)
  assert.deepEqual(paused, { ttlLeftMs: 70, expiresAtMs: undefined })
  assert.equal(ttlResumed({ ttlLeftMs: 70 }, 5000).expiresAtMs, 5070)
  assert.equal(ttlResumed({}, 5000).expiresAtMs, undefined)
  assert.equal(ttlResumed({ expiresAtMs: 9000 }, 5000).expiresAtMs, 9000, 'it was never paused')
})

test('a new time to live counts from now where time goes, and waits where it stands', () => {
  assert.equal(ttlChanged({ state: 'running' }, 100, 1000).expiresAtMs, 1100)
  assert.deepEqual(ttlChanged({ state: 'paused' }, 100, 1000), { ttlMs: 100, ttlLeftMs: 100, expiresAtMs: undefined })
  assert.deepEqual(ttlChanged({ state: 'stopped' }, 100, 1000), {
    ttlMs: 100,
    ttlLeftMs: undefined,
    expiresAtMs: undefined,
  })
  for (const state of ['running', 'paused'] as const)
    assert.deepEqual(new Set(Object.values(ttlChanged({ state }, undefined, 1000))), new Set([undefined]))
})
