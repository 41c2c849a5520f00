import assert from 'node:assert/strict'
import { test } from 'node:test'
import { UsageError } from '../arguments.ts'
import type { AllocationCost } from './allocation-cost.ts'
import type { HitCost } from './hit-cost.ts'
import { parseOpportunistic } from './opportunistic-arguments.ts'
import type { OpportunisticMeasured } from './opportunistic-bench.ts'
import { judgeOpportunistic } from './opportunistic-verdicts.ts'

const MiB = 1024 * 1024

function hit(setBytes: number, blockBytes: number, over: number): HitCost {
  const readNs = { copy: 100, indexed: 100, hit: over * 100 }
  return { kind: 'kernel', setBytes, blockBytes, rounds: 1, readNs, overCopy: over, overIndexed: over }
}

function held(p50Ns: number, heldPart: number) {
  const cost: AllocationCost = { what: `${heldPart}`, p25Ns: p50Ns, p50Ns, p99Ns: p50Ns, batch: 1 }
  return { ...cost, heldPart, secondChances: 0 }
}

const nothing: OpportunisticMeasured = {
  ...{ hits: [], options: [], hitRatios: [], stress: [], tornReads: 0 },
  allocations: { freeList: [held(50, 0), held(60, 1)], eviction: [] },
}
const missed = (changes: Partial<OpportunisticMeasured>) =>
  judgeOpportunistic({ ...nothing, ...changes })
    .filter(({ met }) => !met)
    .map(({ promise }) => promise)

test('a hit may cost 1.15 times a copy, 1.35 times where the copy is short', () => {
  assert.deepEqual(missed({ hits: [hit(8 * MiB, 4096, 1.35), hit(256 * MiB, 4096, 1.15)] }), [])
  assert.equal(missed({ hits: [hit(8 * MiB, 4096, 1.36), hit(8 * MiB, 65536, 1.16)] }).length, 2)
})

test('an allocation takes 100 ns at most, however much is held', () => {
  assert.deepEqual(missed({}), [])
  const at = (one: number, other: number) => ({ freeList: [held(one, 0), held(other, 1)], eviction: [] })
  assert.equal(missed({ allocations: at(99, 101) }).length, 1)
  assert.deepEqual(missed({ allocations: at(40, 90) }), ['the same, dearest over cheapest'])
})

test('one torn read is one too many', () => {
  assert.equal(missed({ tornReads: 1 }).length, 1)
})

test('options are read before anything is begun', () => {
  const { rounds, reads, runs, trace } = parseOpportunistic({})
  assert.deepEqual([rounds, reads, runs, trace], [40, 1_000_000, 12, 'recorded'])
  assert.equal(parseOpportunistic({ trace: 'none' }).trace, undefined)
  for (const bad of [{ rounds: '0' }, { reads: 'x' }, { runs: '-1' }, { trace: '/nonexistent' }, { trace: '' }])
    assert.throws(() => parseOpportunistic(bad), UsageError)
})
