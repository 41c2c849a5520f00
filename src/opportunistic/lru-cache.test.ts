import assert from 'node:assert/strict'
import { test } from 'node:test'
import { LruCache } from './lru-cache.ts'

const MiB = 1024 * 1024
const into = Buffer.alloc(MiB)

test('what was read last stays, what was read before it goes', () => {
  const cache = new LruCache({ capacityBytes: 3 * MiB, blockBytes: MiB })
  for (const key of ['a', 'b', 'c']) cache.put(key, Buffer.from(key))
  cache.read('a', into)
  cache.put('d', Buffer.from('d'))
  assert.deepEqual(
    ['a', 'b', 'c', 'd'].map((key) => cache.read(key, into)),
    [1, undefined, 1, 1],
  )
})

test('memory is given back at once, for good, and the rest goes on', () => {
  const cache = new LruCache({ capacityBytes: 64 * MiB, blockBytes: MiB })
  for (let key = 0; key < 64; key += 1) cache.put(key, Buffer.alloc(MiB, key))
  const before = process.memoryUsage().arrayBuffers
  assert.equal(cache.giveBack(20 * MiB), 32 * MiB)
  assert.ok(before - process.memoryUsage().arrayBuffers >= 31 * MiB)
  assert.deepEqual([cache.figures().heldBytes, cache.figures().capacityBytes], [32 * MiB, 32 * MiB])
  for (let key = 0; key < 32; key += 1) assert.equal(cache.read(key, into), MiB)
  assert.ok(into.every((byte) => byte === 31))
  for (let key = 100; key < 164; key += 1) assert.ok(cache.put(key, Buffer.alloc(MiB, key)))
  assert.equal(cache.figures().heldBytes, 32 * MiB)
  assert.equal(cache.giveBack(1000 * MiB), 32 * MiB)
  assert.ok(!cache.put(1, Buffer.from('x')))
  assert.equal(cache.giveBack(1), 0)
})
