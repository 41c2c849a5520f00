import assert from 'node:assert/strict'
import { test } from 'node:test'
import { quantile, summarize, summarizeAll } from './summary.ts'

test('quantiles lie between neighbours, whatever the order', () => {
  const figures = [30, 10, 20, 40]
  assert.equal(quantile(figures, 0), 10)
  assert.equal(quantile(figures, 0.5), 25)
  assert.equal(quantile(figures, 1), 40)
  assert.equal(quantile([7], 0.99), 7)
  assert.ok(Number.isNaN(quantile([], 0.5)))
})

test('a summary of 1 to 101 has its quantiles where one expects them', () => {
  const { count, min, p50, p90, p99, max } = summarize(Array.from({ length: 101 }, (_, index) => index))
  assert.deepEqual({ count, min, p50, p90, p99, max }, { count: 101, min: 0, p50: 50, p90: 90, p99: 99, max: 100 })
})

test('samples may lack a stage', () => {
  const all = summarizeAll([{ loadMs: 1, spawnMs: 5 }, { loadMs: 3 }])
  assert.equal(all.loadMs?.p50, 2)
  assert.equal(all.spawnMs?.count, 1)
})
