import assert from 'node:assert/strict'
import { test } from 'node:test'
import { UsageError } from '../arguments.ts'
import { parseLive } from './live-arguments.ts'

const MiB = 1024 * 1024

test('lists of sizes, ways and counts are read, and none is a list', () => {
  const plan = parseLive({ deltas: '8M, 1G', 'disk-deltas': 'none', ways: 'background', children: '16,100' })
  assert.deepEqual(plan.deltas, [8 * MiB, 1024 * MiB])
  assert.deepEqual(plan.diskDeltas, [])
  assert.deepEqual(plan.ways, ['background'])
  assert.deepEqual(plan.children, [16, 100])
  assert.equal('dir' in plan, false)
})

test('what cannot be meant is refused', () => {
  for (const values of [
    { deltas: '8.5K' },
    { deltas: 'much' },
    { deltas: '' },
    { ways: 'copy,magic' },
    { children: '0' },
    { children: '101' },
    { runs: '' },
    { generations: '-1' },
  ])
    assert.throws(() => parseLive(values), UsageError, JSON.stringify(values))
})
