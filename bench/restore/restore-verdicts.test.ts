import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FillSeries } from './fill-series.ts'
import type { LazySample, LazySeries, MeasuredPolicy, RivalSeries } from './lazy-series.ts'
import { type GuestKind, guestKinds } from './moment.ts'
import { judgeRestore, type RestoreMeasured, worstShare } from './restore-verdicts.ts'

const timings = { spawnMs: 50, loadedMs: 40, answeredMs: 90, execMs: 30, walkMs: 500 }
const counts = {
  answeredFaults: 1,
  execFaults: 2,
  walkZeroFaults: 0,
  walkPages: 0,
  pages: 0,
  ...{ demandPages: 0, prefetchedPages: 0, sampledPages: 0, sampledUsedPages: 0 },
  workingSetPages: 0,
  stallMs: 1,
}

function lazy(guest: GuestKind, policy: MeasuredPolicy, storeDelayMs: number, walkFaults: number): LazySeries {
  const sample: LazySample = { ...timings, ...counts, walkFaults }
  return { guest, policy, storeDelayMs, samples: [sample] }
}

/** As the two guests are promised to be, each figure just at its target. */
function measured(changes: Partial<RestoreMeasured> = {}): RestoreMeasured {
  const rival = (guest: GuestKind, way: RivalSeries['way'], loadedMs: number): RivalSeries => ({
    ...{ guest, way },
    samples: [{ ...timings, loadedMs }],
  })
  const wait = (p50: number) => ({ p50, p90: p50, p99: p50 })
  const fill: FillSeries = {
    guest: 'fresh',
    idleBytesPerSecond: [200e6],
    curve: [
      {
        gapUs: 0,
        samples: [
          { idleWaitUs: wait(100), waitUs: wait(200), waits: 10, faultsPerSecond: 1, fillBytesPerSecond: 30e6 },
        ],
      },
    ],
  }
  return {
    lazy: guestKinds.flatMap((guest) => [
      lazy(guest, 'none', 0, 1000),
      lazy(guest, 'physical', 0, 50),
      lazy(guest, 'virtual', 0, 50),
      lazy(guest, 'adaptive', 0, 60),
      lazy(guest, 'recorded', 0, 10),
    ]),
    rivals: guestKinds.flatMap((guest) => [rival(guest, 'full', 80), rival(guest, 'resident', 20)]),
    fill: [fill],
    sizes: [{ what: 'fresh guest', storedBytes: 45, memoryBytes: 100, target: 0.45 }],
    pauses: [{ way: 'copy', deltaBytes: 1, snapshotMs: [20], forkMs: [20] }],
    ...changes,
  }
}

const missed = (changes: Partial<RestoreMeasured>) =>
  judgeRestore(measured(changes)).flatMap(({ met, promise }) => (met ? [] : [promise]))

test('figures that are just their targets are met, and each is told', () => {
  assert.deepEqual(missed({}), [])
  // three of walks and two of answers for each guest, three of the fill, one size, one pause
  assert.equal(judgeRestore(measured()).length, 2 * 3 + 2 * 2 + 3 + 1 + 1)
})

test('one policy must do for both guests', () => {
  const series = measured().lazy.filter(({ policy }) => policy !== 'virtual' && policy !== 'adaptive')
  const found = missed({
    lazy: [
      ...series,
      ...[lazy('fresh', 'virtual', 0, 10), lazy('fragmented', 'virtual', 0, 200)],
      ...[lazy('fresh', 'adaptive', 0, 200), lazy('fragmented', 'adaptive', 0, 10)],
    ],
  })
  assert.equal(found.length, 2, 'the share of one guest, and more than physical there')
})

test('the worst store counts, each against its own', () => {
  const series = [
    ...[lazy('fresh', 'none', 0, 1000), lazy('fresh', 'virtual', 0, 20)],
    ...[lazy('fresh', 'none', 1, 500), lazy('fresh', 'virtual', 1, 30)],
  ]
  assert.equal(worstShare(series, 'fresh', 'virtual', 'none'), 0.06)
  assert.equal(worstShare(series, 'fresh', 'virtual', 'physical'), undefined)
})

test('a slow answer, a slow fill, a large file and a long pause are missed', () => {
  const [fill] = measured().fill
  assert.ok(fill)
  const slow: FillSeries = { ...fill, idleBytesPerSecond: [199e6] }
  assert.equal(missed({ fill: [slow] }).length, 1)
  assert.equal(
    missed({ rivals: measured().rivals.map((series) => ({ ...series, samples: [{ ...timings, loadedMs: 19 }] })) })
      .length,
    4,
  )
  assert.equal(missed({ sizes: [{ what: 'a guest', storedBytes: 46, memoryBytes: 100, target: 0.45 }] }).length, 1)
  assert.equal(missed({ pauses: [{ way: 'copy', deltaBytes: 1, snapshotMs: [21], forkMs: [20] }] }).length, 1)
})

test('nothing is judged that was not measured', () => {
  assert.deepEqual(judgeRestore({ lazy: [], rivals: [], fill: [], sizes: [], pauses: [] }), [])
})
