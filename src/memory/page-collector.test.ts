import assert from 'node:assert/strict'
import { closeSync, readSync, writeSync } from 'node:fs'
import { test } from 'node:test'
import fc from 'fast-check'
import { countDescriptors } from '../host/descriptors.ts'
import { createMemfd } from '../host/memfd.ts'
import { checkSealed, pageBytes, residentBytes } from './base.ts'
import { BaseCollector, DeltaCollector } from './page-collector.ts'

const pageCount = 600
const sizeBytes = pageCount * pageBytes
const options = { sizeBytes, expectedBytes: sizeBytes }
const page = (fill: number) => Buffer.alloc(pageBytes, fill)

/** Every page once, in an order that is mostly ascending, as a guest's writes make it. */
const order = fc.array(fc.nat(pageCount - 1), { maxLength: 40 }).map((early) => {
  const first = [...new Set(early)]
  const rest = Array.from({ length: pageCount }, (_, index) => index).filter((index) => !first.includes(index))
  return [...first, ...rest]
})
const content = fc.array(fc.nat(3), { minLength: pageCount, maxLength: pageCount })

function read(fd: number, index: number): number {
  const bytes = Buffer.alloc(pageBytes)
  readSync(fd, bytes, 0, pageBytes, index * pageBytes)
  const [fill = -1] = bytes
  assert.ok(bytes.equals(page(fill)), `page ${index} is whole`)
  return fill
}

test('a base has every page where it belongs, whatever order they came in, and holes for zeros', () => {
  const descriptors = countDescriptors('self')
  const property = fc.property(order, content, (indexes, fills) => {
    using collector = new BaseCollector('collected', options)
    for (const index of indexes) {
      const fill = fills[index] ?? 0
      // A page of zeros comes as such, or as one that happens to be all zeros.
      collector.page(index * pageBytes, fill === 0 && index % 2 === 0 ? undefined : page(fill))
    }
    const base = collector.finish()
    try {
      checkSealed(base.fd, base.id, sizeBytes)
      for (const [index, fill] of fills.entries()) assert.equal(read(base.fd, index), fill)
      assert.equal(residentBytes(base), fills.filter((fill) => fill !== 0).length * pageBytes)
    } finally {
      closeSync(base.fd)
    }
  })
  fc.assert(property, { numRuns: 20 })
  assert.equal(countDescriptors('self'), descriptors)
})

test('a delta has just the pages that differ from the base, ascending, neighbours joined', (t) => {
  const property = fc.property(order, content, content, (indexes, below, above) => {
    const fd = createMemfd('collected-below', sizeBytes)
    try {
      for (const [index, fill] of below.entries())
        if (fill !== 0) writeSync(fd, page(fill), 0, pageBytes, index * pageBytes)
      const collector = new DeltaCollector({ id: 'below', fd, sizeBytes }, options)
      for (const index of indexes)
        collector.page(index * pageBytes, above[index] === 0 ? undefined : page(above[index] ?? 0))
      const { runs, bytes } = collector.finish()
      const told = new Map<number, number>()
      let position = 0
      let end = -1
      for (const { offsetBytes, lengthBytes } of runs) {
        assert.ok(offsetBytes > end, 'apart from the run before')
        end = offsetBytes + lengthBytes
        for (let at = 0; at < lengthBytes; at += pageBytes, position += pageBytes)
          told.set((offsetBytes + at) / pageBytes, bytes[position] ?? -1)
      }
      assert.equal(position, bytes.length)
      const wanted = above.flatMap((fill, index) => (fill === below[index] ? [] : [[index, fill] as const]))
      assert.deepEqual([...told], wanted)
    } finally {
      closeSync(fd)
    }
  })
  fc.assert(property, { numRuns: 20 })
  t.diagnostic('20 random deltas')
})

test('a page that comes twice, or not at all, is refused', () => {
  using twice = new BaseCollector('twice', options)
  twice.page(0, page(1))
  assert.throws(() => twice.page(0, page(1)), { code: 'VMM_FAILED' })
  using short = new BaseCollector('short', options)
  for (let index = 1; index < pageCount; index += 1) short.page(index * pageBytes, undefined)
  assert.throws(() => short.finish(), /1 pages did not come/)
})

test('a host without the memory refuses before there is anything', () => {
  const readMemory = () => ({
    totalBytes: 2 ** 30,
    availableBytes: 2 ** 20,
    freeBytes: 0,
    sharedBytes: 0,
    swapFreeBytes: 0,
  })
  assert.throws(() => new BaseCollector('none', { ...options, readMemory }), { code: 'NO_CAPACITY' })
})
