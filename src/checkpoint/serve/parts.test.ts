import assert from 'node:assert/strict'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Clock } from '../../shared/clock.ts'
import { RametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import { randomOf, withDirectory } from '../file/testing/sample.ts'
import { DelayedSource } from './delayed-source.ts'
import { ExpectedPages } from './expected-pages.ts'
import { Histogram } from './histogram.ts'
import { Pace } from './pace.ts'
import { Record, readExpected, writeRecord } from './record.ts'
import { retrying } from './retry.ts'
import { RestoreTally } from './tally.ts'

/** Time passes when it is told to, or when somebody sleeps. */
class FakeClock implements Clock {
  ms = 1000
  nowMs(): number {
    return this.ms
  }
  monotonicMs(): number {
    return this.ms
  }
  sleep(ms: number): Promise<void> {
    this.ms += ms
    return Promise.resolve()
  }
}

test('quantiles are within 5 % of what was added', () => {
  const random = randomOf(5)
  const histogram = new Histogram()
  const added = Array.from({ length: 5000 }, () => 0.01 * 1.002 ** random(5000))
  for (const ms of added) histogram.add(ms)
  added.sort((one, other) => one - other)
  for (const fraction of [0.01, 0.5, 0.9, 0.99]) {
    const exact = added[Math.ceil(added.length * fraction) - 1] ?? 0
    assert.ok(Math.abs(histogram.quantile(fraction) / exact - 1) < 0.05, `${fraction}`)
  }
  assert.equal(histogram.max, added.at(-1))
  assert.equal(new Histogram().quantile(0.5), 0)
})

test('what the newest fault makes likely comes first, and what was pushed first comes last', () => {
  const expected = new ExpectedPages([1, 2, 3])
  expected.add([10, 11])
  expected.add([20, 21])
  const sent = new Set([11, 2])
  const taken: number[] = []
  const isOut = (page: number) => sent.has(page)
  for (let page = expected.peek(isOut); page !== undefined; page = expected.peek(isOut)) {
    taken.push(page)
    sent.add(page)
  }
  assert.deepEqual(taken, [20, 21, 10, 1, 3])
})

test('only so much is expected, the oldest is forgotten', () => {
  const expected = new ExpectedPages()
  for (let batch = 0; batch < 100; batch += 1) expected.add(Array.from({ length: 512 }, (_, at) => batch * 512 + at))
  const sent = new Set<number>()
  const isOut = (page: number) => sent.has(page)
  for (let page = expected.peek(isOut); page !== undefined; page = expected.peek(isOut)) sent.add(page)
  assert.equal(sent.size, limits.pageServerExpectedPages)
  assert.ok(Math.min(...sent) >= 100 * 512 - limits.pageServerExpectedPages)
})

test('the fill is at full speed when nobody waits, and slow while somebody does', () => {
  const clock = new FakeClock()
  let unread = 0
  const pace = new Pace(clock, () => unread)
  assert.equal(pace.next(), 'burst')
  let sentPages = 0
  for (let step = 0; step < 10_000; step += 1) {
    // A request every half millisecond.
    clock.ms += 0.1
    if (step % 5 === 0) pace.fault()
    const next = pace.next()
    assert.notEqual(next, 'burst')
    if (next === 'small') sentPages += limits.pageServerSmallBurstPages
  }
  const perSecond = sentPages * 4096
  assert.ok(Math.abs(perSecond / limits.pageServerBusyBytesPerSecond - 1) < 0.05, `${perSecond} bytes/s`)
  unread = limits.pageServerBusyQueueBytes + 1
  clock.ms += 1
  pace.fault()
  assert.deepEqual(pace.next(), { waitMs: 1 }, 'not while QEMU is behind')
  clock.ms += limits.pageServerQuietMs
  assert.equal(pace.next(), 'burst')
  pace.fault()
  pace.isHurried = true
  assert.equal(pace.next(), 'burst')
})

test('a read that fails is tried again, one of a damaged file is not', async () => {
  const clock = new FakeClock()
  const { signal } = new AbortController()
  let tries = 0
  const failTwice = () => {
    tries += 1
    return tries < 3 ? Promise.reject(new Error('away')) : Promise.resolve('read')
  }
  assert.equal(await retrying(failTwice, clock, signal), 'read')
  const damaged = new RametError('CHECKPOINT_DAMAGED', { message: 'damaged' })
  let damagedTries = 0
  const failForGood = () => {
    damagedTries += 1
    return Promise.reject(damaged)
  }
  await assert.rejects(retrying(failForGood, clock, signal), damaged)
  assert.equal(damagedTries, 1)
  const gone = new Error('gone')
  let goneTries = 0
  const never = () => {
    goneTries += 1
    return Promise.reject(gone)
  }
  await assert.rejects(retrying(never, clock, signal), gone)
  assert.equal(goneTries, limits.pageServerRetryCount)
})

test('a record puts what is new before what was known, and is cut at its end', async () => {
  await withDirectory(async (directory) => {
    const file = { path: join(directory, 'set'), digest: 'a'.repeat(64), pageCount: 1000 }
    assert.deepEqual(await readExpected(file), [])
    const first = new Record(1000)
    for (const page of [5, 6, 5, 7]) first.add(page)
    await writeRecord(file, first, 100)
    assert.deepEqual(await readExpected(file), [5, 6, 7])
    const [one, other] = [new Record(1000), new Record(1000)]
    one.add(9)
    other.add(6)
    other.add(11)
    // Two restores that end at once: neither loses what the other has found.
    await Promise.all([writeRecord(file, one, 100), writeRecord(file, other, 100)])
    assert.deepEqual(await readExpected(file), [6, 11, 9, 5, 7])
    await writeRecord(file, new Record(1000), 4)
    assert.deepEqual(await readExpected(file), [6, 11, 9])
    assert.deepEqual(await readExpected({ ...file, digest: 'b'.repeat(64) }), [])
    assert.deepEqual(await readdir(directory), ['set'])
  })
})

test('figures at a mark stay what they were', () => {
  const clock = new FakeClock()
  const tally = new RestoreTally(clock)
  tally.add('demandFaults', 3)
  clock.ms += 10
  tally.stalled(clock.ms - 2)
  tally.mark('agent')
  tally.add('demandFaults', 4)
  const { marks, demandFaults } = tally.stats()
  assert.equal(demandFaults, 7)
  assert.deepEqual([marks[0]?.name, marks[0]?.demandFaults, marks[0]?.atMs, marks[0]?.stallMs.max], ['agent', 3, 10, 2])
  for (let mark = 1; mark < limits.pageServerMarkCount; mark += 1) tally.mark(`${mark}`)
  tally.mark('agent')
  assert.throws(() => tally.mark('one more'), { code: 'NO_CAPACITY' })
})

test('a slow store takes longer for each read', async () => {
  const clock = new FakeClock()
  const source = { name: 'a', sizeBytes: 4, fd: 1, readRange: () => Promise.resolve(Buffer.from('read')) }
  const slow = new DelayedSource(source, 20, clock)
  assert.equal(String(await slow.readRange(0, 4)), 'read')
  assert.equal(clock.ms, 1020)
  assert.equal('fd' in slow, false, 'nobody reads past it')
})
