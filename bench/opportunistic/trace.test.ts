import assert from 'node:assert/strict'
import { test } from 'node:test'
import { UsageError } from '../arguments.ts'
import { measureHitRatios } from './hit-ratio.ts'
import { parseTrace, readTrace, syntheticTrace } from './trace.ts'

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

test('the synthetic trace is the same each time, and says what it is', () => {
  const trace = syntheticTrace()
  assert.deepEqual(trace, syntheticTrace())
  assert.equal(trace.source, 'synthetic')
  assert.deepEqual(
    trace.passes.map(({ keys }) => new Set(keys).size),
    [4096, 4096, 4096],
  )
})

test('with room for everything only the first pass misses, with every kind of cache', () => {
  const passes = ['first', 'second'].map((name) => ({ name, keys: [1, 2, 3, 2, 'x'] }))
  const whole = measureHitRatios({ source: 'test', passes }).filter(({ part }) => part === 1)
  assert.equal(whole.length, 4)
  for (const ratio of whole) assert.deepEqual(ratio.passes, [0.2, 1])
})
