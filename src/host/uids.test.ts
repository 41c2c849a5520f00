import assert from 'node:assert/strict'
import { test } from 'node:test'
import { allocateUid, defaultUidRange, overlaps, parseSubordinateIds } from './uids.ts'

const range = { first: 100, count: 3 }

test('ids go round, skip what is taken, and run out with an error', () => {
  assert.equal(allocateUid(range, new Set()), 100)
  assert.equal(allocateUid(range, new Set(), 100), 101)
  assert.equal(allocateUid(range, new Set([101]), 100), 102)
  assert.equal(allocateUid(range, new Set([101]), 102), 100)
  assert.equal(allocateUid(range, new Set([100, 101]), 5_000_000), 102)
  assert.throws(() => allocateUid(range, new Set([100, 101, 102])), { code: 'NO_CAPACITY' })
})

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
