import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { collectPrivateRuns, isPrivatePage, type PageRun } from './pagemap.ts'

const bit = (number: number) => 1n << BigInt(number)
const high = (word: bigint) => Number(word >> 32n)

test('private is: in memory and not of a file, or swapped out', () => {
  const cases: [string, bigint, boolean][] = [
    ['never touched', 0n, false],
    ['anonymous', bit(63) | 0x1234n, true],
    ['page of the base', bit(63) | bit(61) | 0x1234n, false],
    ['swapped', bit(62) | 0x1234n, true],
    ['swapped, file bit set', bit(62) | bit(61), true],
    ['soft-dirty alone', bit(55), false],
    ['soft-dirty page of the base', bit(63) | bit(61) | bit(55), false],
    ['mapped once only, page of the base', bit(63) | bit(61) | bit(56), false],
    ['write-protected by userfaultfd', bit(63) | bit(57), true],
    ['file bit without presence', bit(61), false],
  ]
  for (const [name, word, expected] of cases) assert.equal(isPrivatePage(high(word)), expected, name)
})

test('runs are the same however the words are cut into chunks', () => {
  const word = fc.constantFrom(0n, bit(63), bit(63) | bit(61), bit(62), bit(55))
  fc.assert(
    fc.property(fc.array(word, { maxLength: 60 }), fc.integer({ min: 1, max: 60 }), (words, chunk) => {
      const runs: PageRun[] = []
      for (let at = 0; at < words.length; at += chunk) {
        const halves = words.slice(at, at + chunk).flatMap((value) => [Number(value & 0xffffffffn), high(value)])
        collectPrivateRuns(Uint32Array.from(halves), at, runs)
      }
      const listed = runs.flatMap(({ page, count }) => Array.from({ length: count }, (_, index) => page + index))
      const expected = words.flatMap((value, page) => (isPrivatePage(high(value)) ? [page] : []))
      assert.deepEqual(listed, expected)
      for (const [index, run] of runs.entries()) {
        const before = runs[index - 1]
        if (before !== undefined) assert.ok(before.page + before.count < run.page, 'neighbours are joined')
      }
    }),
  )
})
