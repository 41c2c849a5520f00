import assert from 'node:assert/strict'
import { test } from 'node:test'
import { crossOver, fitLine } from './fit.ts'

test('points on a line give that line', () => {
  const line = fitLine([0, 1, 5].map((x) => ({ x, y: 3 + 2 * x })))
  assert.ok(line)
  assert.ok(Math.abs(line.atZero - 3) < 1e-9 && Math.abs(line.slope - 2) < 1e-9)
})

test('points beside a line give the one between them', () => {
  const line = fitLine([
    { x: 0, y: 1 },
    { x: 0, y: 3 },
    { x: 10, y: 11 },
    { x: 10, y: 13 },
  ])
  assert.ok(line)
  assert.ok(Math.abs(line.atZero - 2) < 1e-9 && Math.abs(line.slope - 1) < 1e-9)
})

test('one size alone gives no line', () => {
  assert.equal(fitLine([{ x: 4, y: 1 }]), undefined)
  assert.equal(
    fitLine([
      { x: 4, y: 1 },
      { x: 4, y: 2 },
    ]),
    undefined,
  )
  assert.equal(fitLine([]), undefined)
})

test('lines cross where both are as high', () => {
  assert.equal(crossOver({ atZero: 10, slope: 2 }, 30), 10)
  assert.equal(crossOver({ atZero: 40, slope: 2 }, 30), 0, 'never cheaper')
  assert.equal(crossOver({ atZero: 10, slope: 0 }, 30), Number.POSITIVE_INFINITY, 'always cheaper')
})
