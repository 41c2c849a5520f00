import assert from 'node:assert/strict'
import { closeSync, writeSync } from 'node:fs'
import { after, test } from 'node:test'
import { createMemfd } from '../../host/memfd.ts'
import { imageOfFile, imageOverBase } from './memory-image.ts'

const pageBytes = 4096
const pageOf = (value: number) => Buffer.alloc(pageBytes, value)
/** Pages 2 to 4 and 7 of ten. */
const baseFd = createMemfd('ramet-test-image', 10 * pageBytes)
after(() => closeSync(baseFd))
for (const page of [2, 3, 4, 7]) writeSync(baseFd, pageOf(page), 0, pageBytes, page * pageBytes)

const valuesOf = (image: ReturnType<typeof imageOfFile>, from: number, count: number) => {
  const bytes = Buffer.alloc(count * pageBytes, 0xee)
  image.read(bytes, from * pageBytes)
  return Array.from({ length: count }, (_, page) => {
    const value = bytes[page * pageBytes]
    assert.ok(bytes.subarray(page * pageBytes, (page + 1) * pageBytes).every((byte) => byte === value))
    return value
  })
}
const pagesOf = (image: ReturnType<typeof imageOfFile>) =>
  image.data.map(({ offsetBytes, lengthBytes }) => [offsetBytes / pageBytes, lengthBytes / pageBytes])

test('an image in a file', () => {
  const image = imageOfFile(baseFd, 10 * pageBytes)
  assert.deepEqual(pagesOf(image), [
    [2, 3],
    [7, 1],
  ])
  assert.deepEqual(valuesOf(image, 0, 10), [0, 0, 2, 3, 4, 0, 0, 7, 0, 0])
})

test('a file that is shorter than it should be is an error, not zeros', () => {
  assert.throws(() => valuesOf(imageOfFile(baseFd, 10 * pageBytes), 9, 2), { code: 'INTERNAL' })
})

test('private pages hide the base, and lie where it has holes', () => {
  const page = (offset: number, length: number) => ({
    offsetBytes: offset * pageBytes,
    lengthBytes: length * pageBytes,
  })
  const image = imageOverBase({
    baseFd,
    sizeBytes: 10 * pageBytes,
    runs: [page(0, 1), page(3, 3)],
    bytes: Buffer.concat([10, 13, 14, 15].map(pageOf)),
  })
  assert.deepEqual(pagesOf(image), [
    [0, 1],
    [2, 4],
    [7, 1],
  ])
  const all = [10, 0, 2, 13, 14, 15, 0, 7, 0, 0]
  for (let from = 0; from < 10; from += 1) {
    for (let count = 1; from + count <= 10; count += 1) {
      assert.deepEqual(valuesOf(image, from, count), all.slice(from, from + count))
    }
  }
})

test('private pages over nothing', () => {
  const runs = [{ offsetBytes: 2 * pageBytes, lengthBytes: pageBytes }]
  const image = imageOverBase({ sizeBytes: 4 * pageBytes, runs, bytes: pageOf(9) })
  assert.deepEqual(valuesOf(image, 0, 4), [0, 0, 9, 0])
})
