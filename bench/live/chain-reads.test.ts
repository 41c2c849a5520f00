import assert from 'node:assert/strict'
import { test } from 'node:test'
import { randomOffsets, readLatenciesUs } from './chain-reads.ts'
import { spreadClusterCount, writesOf } from './generations.ts'
import { spreadClusters } from './guest-load.ts'

test('latencies are read from what qemu-io prints, prompts and all', () => {
  const text = 'qemu-io> 4096,1,0:00:00.00,199804878.049,50000.000\nqemu-io> 4096,1,0:00:00.00,1.5,100000\nqemu-io> '
  assert.deepEqual(readLatenciesUs(text), [20, 10])
})

test('offsets are whole blocks within the disk, the same for the same seed', () => {
  const offsets = randomOffsets(7, 1024 * 1024, 500)
  assert.equal(offsets.length, 500)
  assert.ok(offsets.every((offset) => offset % 4096 === 0 && offset >= 0 && offset < 1024 * 1024))
  assert.ok(new Set(offsets).size > 100)
  assert.deepEqual(offsets, randomOffsets(7, 1024 * 1024, 500))
  assert.notDeepEqual(offsets, randomOffsets(8, 1024 * 1024, 500))
})

test('the spreading reaches every cluster before it comes back to one', () => {
  assert.equal(new Set(spreadClusters(spreadClusterCount, spreadClusterCount, 0)).size, spreadClusterCount)
})

test('a constant working set is the same in each generation, a growing one is not', () => {
  const { byte: first, ...place } = writesOf('constant', 1)
  const { byte: second, ...same } = writesOf('constant', 2)
  assert.deepEqual(place, same)
  assert.notEqual(first, second, 'other data in the same places')
  assert.ok(writesOf('growing', 9).memoryBytes > writesOf('growing', 8).memoryBytes)
  assert.notEqual(writesOf('growing', 9).firstCluster, writesOf('growing', 8).firstCluster)
})
