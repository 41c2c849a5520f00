import assert from 'node:assert/strict'
import { test } from 'node:test'
import { LruCache } from '../../src/opportunistic/lru-cache.ts'
import { UsageError } from '../arguments.ts'
import { measureHitRatios } from './hit-ratio.ts'
import { parseTrace, readTrace } from './trace.ts'
import { TracingCache } from './tracing-cache.ts'

test('passes, numbers, texts and comments are told apart', () => {
  assert.deepEqual(parseTrace('# made by hand\n@ first\n1\nsha:2 \n\n@second\n1\n'), [
    { name: 'first', keys: [1, 'sha:2'] },
    { name: 'second', keys: [1] },
  ])
  assert.deepEqual(parseTrace('7\n'), [{ name: 'all', keys: [7] }])
})

test('what is no trace is refused', () => {
  assert.throws(() => parseTrace('@ nothing\n'), UsageError)
  assert.throws(() => parseTrace('1 2\n'), UsageError)
  assert.throws(() => readTrace('/nonexistent'), UsageError)
})

test('a block that is asked for is recorded once, when it is found or when it is put', () => {
  const cache = new TracingCache(new LruCache({ capacityBytes: 65_536, blockBytes: 4096 }))
  const into = Buffer.alloc(4096)
  // Two wait for it while it is decompressed.
  for (const _ of [1, 2]) assert.equal(cache.read('a', into), undefined)
  assert.ok(cache.put('a', Buffer.from('x')))
  assert.ok(cache.has('a') && !cache.has('b'))
  assert.equal(cache.read('a', into), 1)
  assert.deepEqual(cache.take(), ['a', 'a'])
  assert.deepEqual(cache.take(), [])
  cache.close()
})

test('with room for everything only the first pass misses, with every kind of cache', async () => {
  const passes = ['first', 'second'].map((name) => ({ name, keys: [1, 2, 3, 2, 'x'] }))
  const whole = (await measureHitRatios({ source: 'test', passes })).filter(({ part }) => part === 1)
  assert.equal(whole.length, 5)
  for (const ratio of whole) assert.deepEqual(ratio.passes, [0.2, 1])
})

test('as the page server uses a cache, a fill of more than there is room for finds much of it again', async () => {
  const keys = Array.from({ length: 320 }, (_, key) => key)
  const passes = ['first', 'second'].map((name) => ({ name, keys, fillFrom: 0 }))
  const half = (await measureHitRatios({ source: 'test', passes })).filter(({ part }) => part === 0.5)
  const second = (name: string) => half.find(({ cache }) => cache === name)?.passes[1] ?? Number.NaN
  assert.ok(second('kernel, as the page server uses it') > 0.3)
  assert.equal(second('lru'), 0)
})
