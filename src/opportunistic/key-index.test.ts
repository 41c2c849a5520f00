import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { KeyIndex } from './key-index.ts'

test('finds what a Map would find, whatever is set and deleted', () => {
  // Few keys that often fall on the same place, and some far apart.
  const key = fc.oneof(
    fc.integer({ min: 0, max: 30 }),
    fc.integer({ min: 0, max: 5 }).map((high) => high * 2 ** 32 + 3),
    fc.maxSafeInteger(),
    fc.constantFrom('a', 'b', '3'),
  )
  const step = fc.record({ what: fc.constantFrom('set', 'delete'), key })
  const property = fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
    const index = new KeyIndex(32, new Float64Array(201 * 2), 2)
    const model = new Map<number | string, number>()
    steps.forEach((one, slot) => {
      if (one.what === 'delete') {
        index.delete(one.key)
        model.delete(one.key)
      } else if (model.size < 32 || model.has(one.key)) {
        index.set(one.key, slot)
        model.set(one.key, slot)
      }
      for (const other of steps) assert.equal(index.find(other.key), model.get(other.key) ?? -1)
    })
  })
  void fc.assert(property, { numRuns: 200 })
})

test('what is no whole number is found nowhere, and refused', () => {
  const index = new KeyIndex(4, new Float64Array(4), 1)
  for (const key of [Number.NaN, 0.5, 2 ** 53]) {
    assert.equal(index.find(key), -1)
    assert.throws(() => index.set(key, 0), { code: 'INTERNAL' })
  }
  index.set(0, 1)
  assert.equal(index.find(-0), 1)
})
