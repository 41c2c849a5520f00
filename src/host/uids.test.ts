import assert from 'node:assert/strict'
import { test } from 'node:test'
import { defaultUidRange, overlaps, parseSubordinateIds } from './uids.ts'

const range = { first: 100, count: 3 }

test('the default range keeps clear of common subordinate ids', () => {
  const given = parseSubordinateIds('alice:100000:65536\n# none\nbob:165536:65536\nbroken:x:y\n\n')
  assert.deepEqual(given, [
    { first: 100000, count: 65536 },
    { first: 165536, count: 65536 },
  ])
  assert.ok(given.every((other) => !overlaps(other, defaultUidRange)))
  assert.ok(overlaps({ first: 0, count: 101 }, range))
  assert.ok(!overlaps({ first: 0, count: 100 }, range))
  assert.ok(defaultUidRange.first + defaultUidRange.count < 2 ** 31)
})
