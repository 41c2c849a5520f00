import assert from 'node:assert/strict'
import { test } from 'node:test'
import { localityOrder, neighboursOf } from './locality.ts'
import { PageMapBuilder } from './page-map-builder.ts'
import { PageSet } from './page-set.ts'

/** Two address spaces over 40 pages; page 7 is in both, and twice in the first. */
function example() {
  const builder = new PageMapBuilder(40, 100)
  builder.beginSpace()
  for (const [index, page] of [30, 4, 7, 22, 9].entries()) builder.add(100 + index, page, 1)
  builder.add(500, 7, 1)
  builder.add(2000, 11, 1)
  builder.beginSpace()
  builder.add(2 ** 44, 16, 4)
  builder.add(2 ** 44 + 4, 7, 1)
  return builder.build()
}

function setOf(pageCount: number, pages: readonly number[]): PageSet {
  const set = new PageSet(pageCount)
  for (const page of pages) set.add(page)
  return set
}

test('a page knows all its mappings', () => {
  const map = example()
  assert.deepEqual(
    map.mappingsOf(7, 10).map(({ space, virtualPage }) => [space, virtualPage]),
    [
      [0, 102],
      [0, 500],
      [1, 2 ** 44 + 4],
    ],
  )
  assert.equal(map.mappingsOf(7, 2).length, 2)
  assert.deepEqual(map.mappingsOf(0, 10), [])
  assert.deepEqual(map.mappingsOf(19, 10), [{ space: 1, virtualPage: 2 ** 44 + 3, position: 10 }])
})

test('a dropped address space leaves nothing', () => {
  const builder = new PageMapBuilder(40, 100)
  builder.beginSpace()
  builder.add(1, 1, 1)
  builder.beginSpace()
  builder.add(1, 2, 3)
  builder.add(9, 8, 1)
  builder.dropSpace()
  builder.beginSpace()
  builder.add(2, 3, 1)
  const map = builder.build()
  assert.equal(map.spaceCount, 2)
  assert.deepEqual([...map.arrays.pages], [1, 3])
  assert.equal(map.virtualPageAt(1), 2)
  assert.equal(map.spaceAt(1), 1)
})

test('a map takes as many mappings as it may', () => {
  const builder = new PageMapBuilder(10_000, 9000)
  builder.beginSpace()
  for (let index = 0; index < 10_000; index += 1) builder.add(index * 2, index, 1)
  const map = builder.build()
  assert.equal(map.length, 9000)
  assert.equal(map.virtualPageAt(8999), 17_998)
})

test('the order is guest-virtual, each page once, the unmapped behind', () => {
  const resident = setOf(40, [0, 1, 4, 7, 9, 11, 16, 17, 18, 19, 22, 30, 39])
  assert.deepEqual([...localityOrder(example(), resident)], [30, 4, 7, 22, 9, 11, 16, 17, 18, 19, 0, 1, 39])
  assert.deepEqual([...localityOrder(example(), setOf(40, [39, 7, 0]))], [7, 0, 39], 'what is not resident is left out')
  assert.deepEqual([...localityOrder(undefined, setOf(40, [5, 3]))], [3, 5])
})

test('neighbours are those of the address space: three quarters ahead, the rest behind', () => {
  const map = example()
  assert.deepEqual(neighboursOf(map, 40, 4, { count: 4 }), { space: 0, pages: [7, 22, 9, 30] })
  assert.deepEqual(neighboursOf(map, 40, 30, { count: 4 }).pages, [4, 7, 22, 9], 'nothing behind: more ahead')
  assert.deepEqual(neighboursOf(map, 40, 9, { count: 4 }).pages, [7, 22, 4], 'a gap of more than 2 MiB ends it')
  assert.deepEqual(neighboursOf(map, 40, 11, { count: 4 }).pages, [])
  assert.deepEqual(neighboursOf(map, 40, 16, { count: 0 }).pages, [])
})

test('a page of several address spaces has its neighbours where the last fault was', () => {
  const map = example()
  assert.deepEqual(neighboursOf(map, 40, 7, { count: 4, space: 1 }), { space: 1, pages: [19, 18, 17, 16] })
  assert.equal(neighboursOf(map, 40, 7, { count: 4, space: 0 }).space, 0)
  assert.equal(neighboursOf(map, 40, 16, { count: 4, space: 0 }).space, 1, 'it is not in that one')
})

test('a page that no process maps has physical neighbours', () => {
  const map = example()
  assert.deepEqual(neighboursOf(map, 40, 1, { count: 8 }), { space: undefined, pages: [2, 3, 4, 5, 6, 7, 0, 8] })
  assert.deepEqual(neighboursOf(undefined, 40, 39, { count: 2 }).pages, [38, 37])
})
