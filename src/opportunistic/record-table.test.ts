import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { ownWord, RecordTable } from './record-table.ts'

test('finds what a Map would find, whatever is set and deleted', () => {
  // Few keys that often fall on the same place, and some far apart.
  const key = fc.oneof(
    fc.integer({ min: 0, max: 30 }),
    fc.integer({ min: 0, max: 5 }).map((high) => high * 2 ** 32 + 3),
    fc.maxSafeInteger(),
    fc.constantFrom('a', 'b', '3'),
  )
  const step = fc.record({ what: fc.constantFrom('add', 'add', 'remove'), key })
  const property = fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
    const table = new RecordTable(32)
    const model = new Map<number | string, { slot: number; stamp: number }>()
    const free = Array.from({ length: 32 }, (_, slot) => slot)
    steps.forEach((one, stamp) => {
      const there = model.get(one.key)
      if (one.what === 'remove' && there !== undefined) {
        table.remove(there.slot)
        model.delete(one.key)
        free.push(there.slot)
      } else if (one.what === 'add' && there === undefined && free.length > 0) {
        const slot = free.pop() ?? -1
        table.words[table.add(one.key, slot) + ownWord] = stamp
        model.set(one.key, { slot, stamp })
      }
      for (const other of steps) assert.equal(table.find(other.key) >= 0, model.has(other.key))
      for (const [found, { slot, stamp: expected }] of model) {
        const at = table.find(found)
        assert.deepEqual([table.slotOf(at), table.recordOf(slot), table.has(slot)], [slot, at, true])
        // What is known of a block goes with its record when that is moved.
        assert.equal(table.words[at + ownWord], expected)
      }
      for (const slot of free) assert.ok(!table.has(slot))
    })
  })
  void fc.assert(property, { numRuns: 200 })
})

test('what is no whole number is found nowhere, and refused', () => {
  const table = new RecordTable(4)
  table.add('a text has a number of its own, which is no key', 0)
  for (const key of [Number.NaN, 0.5, 2 ** 53, 2 ** 53 + 2]) {
    assert.equal(table.find(key), -1)
    assert.throws(() => table.add(key, 1), { code: 'INTERNAL' })
  }
  const at = table.add(0, 1)
  assert.equal(table.find(-0), at)
  assert.throws(() => table.add(5, 1), { code: 'INTERNAL' })
  assert.throws(() => table.remove(2), { code: 'INTERNAL' })
})
