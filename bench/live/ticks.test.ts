import assert from 'node:assert/strict'
import { test } from 'node:test'
import { countAt, slowdownOf, type Tick } from './ticks.ts'

/** A loop that counts `rateAt(ms)` per millisecond, told of every 50 ms. */
function ticksOf(rateAt: (atMs: number) => number, untilMs: number): Tick[] {
  const ticks: Tick[] = [{ atMs: 0, count: 0 }]
  for (let atMs = 50; atMs <= untilMs; atMs += 50) {
    ticks.push({ atMs, count: (ticks.at(-1)?.count ?? 0) + rateAt(atMs) * 50 })
  }
  return ticks
}

test('between two lines the count is interpolated', () => {
  const ticks = [
    { atMs: 100, count: 10 },
    { atMs: 200, count: 30 },
  ]
  assert.equal(countAt(ticks, 150), 20)
  assert.equal(countAt(ticks, 50), 10)
  assert.equal(countAt(ticks, 300), 30)
})

test('lines that came together do not divide by nothing', () => {
  const ticks = [
    { atMs: 100, count: 10 },
    { atMs: 100, count: 30 },
  ]
  assert.equal(countAt(ticks, 100), 10)
})

test('a parent that nothing holds back is not slowed', () => {
  const slowdown = slowdownOf(
    ticksOf(() => 2, 4000),
    { startMs: 1000, endMs: 2000 },
    1000,
  )
  assert.deepEqual(slowdown, { beforeRate: 2000, duringRate: 2000, afterRate: 2000, slowedMs: 0, lostMs: 0 })
})

test('a parent that stands still for half a second has lost that half second', () => {
  const stands = (atMs: number) => (atMs > 1000 && atMs <= 1500 ? 0 : 2)
  const slowdown = slowdownOf(ticksOf(stands, 4000), { startMs: 1000, endMs: 2000 }, 1000)
  assert.equal(slowdown.lostMs, 500)
  assert.equal(slowdown.duringRate, 1000)
  assert.ok(slowdown.slowedMs >= 500 && slowdown.slowedMs <= 700, `${slowdown.slowedMs}`)
})
