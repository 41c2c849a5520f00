import assert from 'node:assert/strict'
import { test } from 'node:test'
import { IdlePolicy } from '../../api/vm.ts'
import { idleReason, idleStepOf, resumesOnCall } from './idle-step.ts'

const policy = (pauseAfterSeconds?: number, toDiskAfterSeconds?: number) => ({
  resumeOnCall: true,
  ...(pauseAfterSeconds === undefined ? {} : { pauseAfterSeconds }),
  ...(toDiskAfterSeconds === undefined ? {} : { toDiskAfterSeconds }),
})

test('one that runs pauses in memory or to disk, whichever comes first', () => {
  const step = (idle: ReturnType<typeof policy> | undefined) =>
    idleStepOf({ state: 'running', ...(idle === undefined ? {} : { idle }) })
  assert.equal(step(undefined), undefined)
  assert.deepEqual(step(policy(600)), { pauseTo: 'memory', afterMs: 600_000 })
  assert.deepEqual(step(policy(600, 3600)), { pauseTo: 'memory', afterMs: 600_000 })
  assert.deepEqual(step(policy(undefined, 3600)), { pauseTo: 'disk', afterMs: 3600_000 })
  assert.deepEqual(step(policy(3600, 600)), { pauseTo: 'disk', afterMs: 600_000 })
  assert.deepEqual(step(policy(600, 600)), { pauseTo: 'disk', afterMs: 600_000 })
})

test('one that paused by itself goes to disk when the rest of its time is over; one that somebody paused does not', () => {
  const paused = { state: 'paused' as const, idlePaused: true as const }
  assert.deepEqual(idleStepOf({ ...paused, idle: policy(600, 3600) }), { pauseTo: 'disk', afterMs: 3000_000 })
  assert.deepEqual(idleStepOf({ ...paused, idle: policy(3600, 600) }), { pauseTo: 'disk', afterMs: 600_000 })
  assert.equal(idleStepOf({ ...paused, idle: policy(600) }), undefined)
  assert.equal(idleStepOf(paused), undefined, 'it has been taken away since')
  assert.equal(idleStepOf({ state: 'paused', idle: policy(600, 3600) }), undefined)
  for (const state of ['starting', 'capturing', 'suspended', 'stopped'] as const)
    assert.equal(idleStepOf({ state, idlePaused: true, idle: policy(600, 3600) }), undefined)
})

test('a call resumes what paused by itself, unless it was told otherwise', () => {
  assert.equal(resumesOnCall({ idlePaused: true }), true)
  assert.equal(resumesOnCall({ idlePaused: true, idle: policy(600) }), true)
  assert.equal(resumesOnCall({ idlePaused: true, idle: { ...policy(600), resumeOnCall: false } }), false)
  assert.equal(resumesOnCall({ idle: policy(600) }), false)
})

test('why it is paused, for people', () => {
  const idle = policy(90, 7200)
  assert.equal(
    idleReason({ name: 'web', idle }, 'memory'),
    'paused by itself after 90 s without a call; the next call resumes it',
  )
  assert.equal(
    idleReason({ name: 'web', idle: { ...idle, resumeOnCall: false } }, 'disk'),
    'paused to disk by itself after 2 h without a call; resume it with `ramet resume web`',
  )
})

test('a policy says at least one time, of a second or more', () => {
  assert.equal(IdlePolicy.safeParse({}).success, false)
  assert.equal(IdlePolicy.safeParse({ resumeOnCall: false }).success, false)
  assert.equal(IdlePolicy.safeParse({ pauseAfterSeconds: 0.5 }).success, false)
  assert.deepEqual(IdlePolicy.parse({ toDiskAfterSeconds: 1 }), { toDiskAfterSeconds: 1, resumeOnCall: true })
})
