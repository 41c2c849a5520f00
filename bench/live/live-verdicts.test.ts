import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DiskSeries } from './disk-series.ts'
import type { Generation, GenerationCurve } from './generations.ts'
import type { LiveCrowd } from './live-crowd.ts'
import { crossOversOf, forkRatio, judgeLive, type LiveMeasured } from './live-verdicts.ts'
import type { MemorySeries } from './memory-series.ts'

const MiB = 1024 * 1024

function series(changes: Partial<MemorySeries> & { pauseMs?: number }): MemorySeries {
  const { pauseMs = 10, ...rest } = changes
  return {
    way: 'copy',
    isWriting: true,
    askedBytes: 32 * MiB,
    memoryBytes: 256 * MiB,
    deltaBytes: [32 * MiB],
    samples: [{ pauseMemoryMs: pauseMs, pauseMs: pauseMs + 5, freezeMs: pauseMs + 10 }],
    slowdowns: [],
    capture: {},
    ...rest,
  }
}

const judge = (measured: Partial<LiveMeasured>) =>
  judgeLive({ memory: [], disks: [], generations: [], crowds: [], ...measured })
const metOf = (measured: Partial<LiveMeasured>) => judge(measured).map(({ met }) => met)

test('what is copied may take 15 ms and a millisecond for each 1/1000 GiB', () => {
  const limit = 15 + (32 / 1024) * 1000
  assert.deepEqual(metOf({ memory: [series({ pauseMs: limit })] }), [true, true])
  assert.equal(metOf({ memory: [series({ pauseMs: limit + 0.1 })] })[0], false)
})

test('in the background the guest’s memory counts, and the delta does not', () => {
  const background = { way: 'background' as const, memoryBytes: 1024 * MiB, deltaBytes: [900 * MiB] }
  assert.equal(metOf({ memory: [series({ ...background, pauseMs: 50 })] })[0], true)
  assert.equal(metOf({ memory: [series({ ...background, pauseMs: 50.1 })] })[0], false)
})

test('a daemon that tells the whole pause alone is judged by it', () => {
  const [verdict] = judge({ memory: [series({ samples: [{ pauseMs: 60 }] })] })
  assert.equal(verdict?.met, false)
  assert.match(verdict?.measured ?? '', /60\.0 ms/)
})

test('what was not measured at all is missed, not met', () => {
  assert.equal(metOf({ memory: [series({ samples: [] })] })[0], false)
})

test('freezing may take 15 ms more than the pause, in the worst series too', () => {
  const worst = series({ samples: [{ pauseMemoryMs: 1, pauseMs: 10, freezeMs: 25.1 }] })
  const verdict = judge({ memory: [series({}), worst] }).at(-1)
  assert.match(verdict?.promise ?? '', /freeze.*2 series/)
  assert.equal(verdict?.met, false)
})

test('disks have 15 ms of their own, where they are told apart', () => {
  const disk: DiskSeries = { fileSystem: 'xfs', hasReflink: true, askedBytes: MiB, deltaBytes: [MiB], samples: [] }
  assert.deepEqual(judge({ disks: [{ ...disk, samples: [{ pauseMs: 99 }] }] }), [])
  assert.deepEqual(metOf({ disks: [{ ...disk, samples: [{ pauseDiskMs: 15 }] }] }), [true])
  assert.deepEqual(metOf({ disks: [{ ...disk, samples: [{ pauseDiskMs: 15.1 }] }] }), [false])
})

function generations(answeredMs: (number: number) => number): Generation[] {
  return Array.from({ length: 50 }, (_, index) => ({
    number: index + 1,
    filledBytes: MiB,
    depth: 2,
    restMs: 0,
    diskBytes: MiB,
    privateBytes: MiB,
    timings: { answeredMs: answeredMs(index + 1) },
  }))
}

function curve(changes: Partial<GenerationCurve> = {}): GenerationCurve {
  const reads = { firstUs: 20, lastUs: 22, naiveUs: 90, lastRatio: 1.1, naiveRatio: 4.5, naiveDepth: 51 }
  return {
    workingSet: 'constant',
    memoryBytes: 512 * MiB,
    generations: generations(() => 500),
    reads: { ...reads, isSameData: true, roundCount: 15, readCount: 1000 },
    ...changes,
  }
}

test('the last ten generations are held against the second to eleventh', () => {
  const late = generations((number) => (number > 40 ? 1200 : number < 12 ? 1000 : 9000))
  assert.equal(forkRatio(late), 1.2)
  assert.equal(forkRatio(late.slice(0, 40)), undefined, 'there are no such generations')
  assert.deepEqual(metOf({ generations: [curve({ generations: late })] }), [true, true, true, true])
})

test('a deeper disk, slower reads, other data and slower forks are each missed', () => {
  const worse = curve({ generations: generations((number) => (number > 40 ? 1201 : 1000)) })
  for (const generation of worse.generations.slice(0, 1)) generation.depth = 3
  worse.reads.lastRatio = 1.11
  worse.reads.isSameData = false
  assert.deepEqual(metOf({ generations: [worse] }), [false, false, false, false])
})

test('of forks of a growing working set nothing is promised', () => {
  assert.equal(metOf({ generations: [curve({ workingSet: 'growing' })] }).length, 3)
})

function crowd(addedBytes: number, nonZeroBytes: number | undefined): LiveCrowd {
  const call = { made: 100, failures: [], capture: {}, wallMs: 1, timings: {}, childTimings: [] }
  const slowdown = { beforeRate: 1, duringRate: 1, afterRate: 1, slowedMs: 0, lostMs: 0 }
  const rest = { idleMs: 1, privateBytes: 0, newBaseBytes: 0, availableDropBytes: 0, proportionalBytes: 0 }
  const memory = { ...rest, addedBytes, nonZeroBytes, idleChildBytes: 2 * MiB }
  return { asked: 100, deltaBytes: MiB, writing: { ...call, slowdown }, atRest: { ...call, memory } }
}

test('a hundred children may add what is in the parent and a hundred idle children', () => {
  assert.deepEqual(metOf({ crowds: [crowd(350 * MiB, 150 * MiB)] }), [true, true])
  assert.deepEqual(metOf({ crowds: [crowd(351 * MiB, 150 * MiB)] }), [true, false])
  assert.deepEqual(metOf({ crowds: [crowd(351 * MiB, undefined)] }), [true], 'nobody could look into the parent')
})

test('the ways cross where the copy takes as long as the background', () => {
  const copies = [8, 32, 128].map((delta) =>
    series({ deltaBytes: [delta * MiB], pauseMs: 10 + delta, askedBytes: delta * MiB }),
  )
  const background = [256, 1024].map((memory) =>
    series({ way: 'background', memoryBytes: memory * MiB, pauseMs: 10 + memory / 16 }),
  )
  const found = crossOversOf([...copies, ...background])
  assert.deepEqual(
    found?.at.map(({ deltaBytes }) => Math.round(deltaBytes / MiB)),
    [16, 64],
  )
  assert.equal(crossOversOf(copies), undefined, 'there is no background')
})
