import assert from 'node:assert/strict'
import { beforeEach, test } from 'node:test'
import { limits } from '../../shared/limits.ts'
import { ManualClock } from '../testing/manual-clock.ts'
import { Uses } from '../uses.ts'
import { IdleTimer } from './idle-timer.ts'

const spanMs = 600_000

let clock: ManualClock
let uses: Uses
let spans: Map<string, number>
let cpuMs: number
let idle: string[]
let timer: IdleTimer

beforeEach(() => {
  clock = new ManualClock()
  uses = new Uses()
  spans = new Map([['web', spanMs]])
  cpuMs = 0
  idle = []
  timer = new IdleTimer(clock, uses, {
    spanMsOf: (vmId) => spans.get(vmId),
    cpuMsOf: () => cpuMs,
    onIdle: (vmId) => void idle.push(vmId),
  })
})

test('a vm is idle when nobody has used it for its time, not before, and once', async () => {
  uses.touch('web')
  await clock.advance(spanMs - 1)
  assert.deepEqual(idle, [])
  await clock.advance(1)
  assert.deepEqual(idle, ['web'])
  await clock.advance(10 * spanMs)
  assert.deepEqual(idle, ['web'])
  assert.equal(clock.sleeperCount, 0)
})

test('each use begins its time anew, and while one lasts no time counts', async () => {
  uses.touch('web')
  await clock.advance(spanMs - 1)
  uses.touch('web')
  await clock.advance(spanMs - 1)
  const first = uses.hold('web')
  const second = uses.hold('web')
  await clock.advance(5 * spanMs)
  first[Symbol.dispose]()
  first[Symbol.dispose]()
  await clock.advance(5 * spanMs)
  assert.deepEqual(idle, [])
  second[Symbol.dispose]()
  await clock.advance(spanMs - 1)
  assert.deepEqual(idle, [])
  await clock.advance(1)
  assert.deepEqual(idle, ['web'])
})

test('one that computes is not idle, however long nobody uses it', async () => {
  uses.touch('web')
  for (let minute = 0; minute < 60; minute += 1) {
    cpuMs += 60_000 * 2 * limits.idleCpuFraction
    await clock.advance(60_000)
  }
  assert.deepEqual(idle, [])
  await clock.advance(2 * spanMs)
  assert.deepEqual(idle, ['web'])
})

test('what a guest does when nobody wants anything of it is no computing', async () => {
  uses.touch('web')
  for (let minute = 0; minute < 10; minute += 1) {
    cpuMs += 60_000 * 0.01
    await clock.advance(60_000)
  }
  assert.deepEqual(idle, ['web'])
})

test('a burst counts when it has just begun, although the whole span was quiet on average', async () => {
  uses.touch('web')
  await clock.advance((spanMs * 3) / 4)
  cpuMs += (spanMs / 4) * 2 * limits.idleCpuFraction
  await clock.advance(spanMs / 4)
  assert.deepEqual(idle, [])
  await clock.advance(spanMs - 1)
  assert.deepEqual(idle, [])
  await clock.advance(1)
  assert.deepEqual(idle, ['web'])
})

test('a burst long ago does not count, although it was all of the average', async () => {
  uses.touch('web')
  cpuMs += spanMs / 4
  await clock.advance(spanMs / 4)
  await clock.advance(spanMs - 1)
  assert.deepEqual(idle, [])
  await clock.advance(1)
  assert.deepEqual(idle, ['web'])
})

test('it is looked at a few times in its span, and not at all when there is nothing to watch', async () => {
  uses.touch('web')
  await clock.advance(spanMs)
  assert.ok(clock.wakeCount <= limits.idleLookCount, String(clock.wakeCount))
  spans.clear()
  uses.touch('web')
  assert.equal(clock.sleeperCount, 0)
})

test('many uses in a row set one timer, not one each', async () => {
  for (let use = 0; use < 1000; use += 1) uses.touch('web')
  assert.equal(clock.sleeperCount, 1)
  await clock.advance(spanMs / 8)
  assert.equal(clock.wakeCount, 0)
})

test('several vms have each their own time, also one of years', async () => {
  spans = new Map([
    ['slow', 365 * 24 * 3600_000],
    ['web', spanMs],
    ['quick', 1000],
  ])
  for (const vmId of spans.keys()) uses.touch(vmId)
  await clock.advance(1000)
  assert.deepEqual(idle, ['quick'])
  await clock.advance(spanMs)
  assert.deepEqual(idle, ['quick', 'web'])
  await clock.advance(365 * 24 * 3600_000)
  assert.deepEqual(idle, ['quick', 'web', 'slow'])
})

test('one that has nothing to do by itself any more is forgotten', async () => {
  uses.touch('web')
  await clock.advance(spanMs / 2)
  spans.clear()
  await clock.advance(10 * spanMs)
  assert.deepEqual(idle, [])
  assert.equal(clock.sleeperCount, 0)
})

test('a timer that was stopped finds nobody idle, and begins nothing', async () => {
  uses.touch('web')
  timer.stop()
  assert.equal(clock.sleeperCount, 0)
  uses.touch('web')
  await clock.advance(2 * spanMs)
  assert.deepEqual(idle, [])
  assert.equal(clock.sleeperCount, 0)
})
