import assert from 'node:assert/strict'
import { test } from 'node:test'
import { summarize } from './summary.ts'
import { judge, type Measured } from './verdicts.ts'

const MiB = 1024 * 1024

function measured(changes: Partial<Measured> = {}): Measured {
  return {
    image: 'micro',
    stages: {
      floor: { runningMs: summarize([10]) },
      fork: { runningMs: summarize([18]), answeredMs: summarize([100]) },
      coldBoot: { answeredMs: summarize([1500]) },
    },
    idle: [{ afterMs: 10_000, guestPrivateBytes: 2 * MiB, guestSharedBytes: 0, vmmBytes: 30 * MiB }],
    ...changes,
  }
}

test('a figure that is just its target is met', () => {
  const verdicts = judge(measured())
  assert.equal(verdicts.length, 4)
  assert.deepEqual(
    verdicts.filter(({ met }) => !met),
    [],
  )
})

test('a figure beyond its target is missed, and so is one that was not measured', () => {
  const stages = {
    floor: { runningMs: summarize([9.9]) },
    fork: { runningMs: summarize([25.1]), answeredMs: summarize([100.1]) },
    coldBoot: {},
  }
  assert.deepEqual(
    judge(measured({ stages, idle: [] })).map(({ met }) => met),
    [false, false, false],
  )
})

test('times are promised of the small image alone', () => {
  const [memory, ...others] = judge(measured({ image: 'debian' }))
  assert.match(memory?.target ?? '', /8 MiB/)
  assert.deepEqual(others, [])
})

test('a descriptor more after the churn is told', () => {
  const before = { processes: 3, descriptors: 37, files: 40 }
  const churn = { forks: 100, before, after: { ...before, descriptors: 38 } }
  const verdict = judge(measured({ churn })).at(-1)
  assert.equal(verdict?.met, false)
  assert.match(verdict?.measured ?? '', /38 descriptors/)
})
