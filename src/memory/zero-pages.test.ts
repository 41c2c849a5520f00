import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { splitByZero } from './zero-pages.ts'

test('stretches cover the buffer, alternate, and one byte anywhere makes a page non-zero', () => {
  const page = fc.option(fc.record({ at: fc.integer({ min: 0, max: 4095 }), value: fc.integer({ min: 1, max: 255 }) }))
  fc.assert(
    fc.property(fc.array(page, { maxLength: 12 }), (pages) => {
      const bytes = Buffer.alloc(pages.length * 4096)
      pages.forEach((mark, index) => {
        if (mark !== null) bytes[index * 4096 + mark.at] = mark.value
      })
      const zeros = splitByZero(bytes).flatMap(({ lengthBytes, zero }) => Array(lengthBytes / 4096).fill(zero))
      assert.deepEqual(
        zeros,
        pages.map((mark) => mark === null),
      )
      const stretches = splitByZero(bytes)
      stretches.slice(1).forEach((stretch, index) => {
        assert.notEqual(stretch.zero, stretches[index]?.zero)
      })
    }),
    { numRuns: 60 },
  )
})
