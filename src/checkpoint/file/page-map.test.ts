import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Bitmap } from './bitmap.ts'
import { decodeNumbers, encodeNumbers } from './numbers.ts'
import { PageMap } from './page-map.ts'
import { compress } from './zstd.ts'

test('an order is decoded to what it was', () => {
  fc.assert(
    fc.property(fc.uint32Array({ maxLength: 300 }), (order) => {
      assert.deepEqual(decodeNumbers(encodeNumbers(order)), order)
    }),
  )
})

test('an order of runs takes next to nothing', () => {
  const order = Uint32Array.from({ length: 65_536 }, (_, index) => (index * 256 + Math.floor(index / 256)) % 65_536)
  const bytes = compress(encodeNumbers(order))?.length ?? Number.POSITIVE_INFINITY
  assert.ok(bytes < 4096, `${bytes} bytes`)
})

const bitmapOf = (length: number, pages: number[]) => {
  const bitmap = new Bitmap(length)
  for (const page of pages) bitmap.set(page)
  return bitmap
}

const mapOf = (zero: number[], base: number[], order: number[], pageCount = 10) =>
  new PageMap(
    {
      pageCount,
      blockPages: 2,
      zero: bitmapOf(pageCount, zero),
      base: bitmapOf(pageCount, base),
      order: Uint32Array.from(order),
    },
    'a.checkpoint',
  )

test('each page is found where it is', () => {
  const map = mapOf([0, 9], [1, 2, 8], [7, 3, 6, 4, 5])
  assert.deepEqual([map.zeroCount, map.baseCount, map.storedCount, map.blockCount], [2, 3, 5, 3])
  assert.deepEqual([map.kindOf(9), map.kindOf(8), map.kindOf(7)], ['zero', 'base', 'stored'])
  assert.deepEqual(map.placeOf(6), { block: 1, slot: 0 })
  assert.deepEqual(map.placeOf(5), { block: 2, slot: 0 })
  assert.equal(map.placeOf(0), undefined)
  assert.deepEqual([...map.pagesOf(0)], [7, 3])
  assert.deepEqual([...map.pagesOf(2)], [5], 'the last block is shorter')
  assert.throws(() => map.pagesOf(3), { code: 'INTERNAL' })
  assert.throws(() => map.placeOf(10), { code: 'INTERNAL' })
})

const wrongs: Record<string, () => PageMap> = {
  'a page that is nowhere': () => mapOf([0, 9], [1, 2], [7, 3, 6, 4, 5]),
  'a page in two blocks': () => mapOf([0, 9], [1, 2, 8], [7, 3, 7, 4, 5]),
  'a stored page of zeros': () => mapOf([0, 9], [1, 2, 8], [7, 3, 0, 4, 5]),
  'a stored page of the base': () => mapOf([0, 9], [1, 2, 8], [7, 3, 1, 4, 5]),
  'a page of zeros and of the base': () => mapOf([0, 9], [0, 2, 8], [7, 3, 6, 4, 5]),
  'a page behind the end': () => mapOf([0, 9], [1, 2, 8], [7, 3, 6, 4, 10]),
  'a page of zeros behind the end': () => mapOf([0, 10], [1, 2, 8], [7, 3, 6, 4, 5]),
}

for (const [name, make] of Object.entries(wrongs))
  test(`a map with ${name} is refused`, () => {
    assert.throws(make, { code: 'CHECKPOINT_DAMAGED' })
  })

test('a bitmap counts what is set', () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.nat(99)), (pages) => {
      const bitmap = bitmapOf(100, pages)
      assert.equal(bitmap.count(), pages.length)
      for (let page = 0; page < 100; page += 1) assert.equal(bitmap.get(page), pages.includes(page))
    }),
  )
})
