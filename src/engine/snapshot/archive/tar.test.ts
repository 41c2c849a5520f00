import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { blockBytes, decodeTarHeader, encodeTarHeader, entryBytes, paddingOf } from './tar.ts'

const entry = fc.record(
  {
    name: fc.stringMatching(/^[a-z0-9.-]{1,99}$/),
    sizeBytes: fc.oneof(fc.nat(), fc.integer({ min: 0, max: 2 ** 45 })),
  },
  { noNullPrototype: true },
)

test('a header is read as it was written, also of a file beyond what eleven octal digits hold', () => {
  fc.assert(
    fc.property(entry, (written) => {
      const header = encodeTarHeader(written)
      assert.equal(header.length, blockBytes)
      assert.deepEqual(decodeTarHeader(header), written)
    }),
  )
  for (const sizeBytes of [8 ** 11 - 1, 8 ** 11]) {
    assert.deepEqual(decodeTarHeader(encodeTarHeader({ name: 'a', sizeBytes })), { name: 'a', sizeBytes })
  }
})

test('any other header is none, whatever a tar would make of it', () => {
  fc.assert(
    fc.property(entry, fc.nat(blockBytes - 1), fc.integer({ min: 1, max: 255 }), (written, at, change) => {
      const header = encodeTarHeader(written)
      header[at] = (header[at] ?? 0) ^ change
      const read = decodeTarHeader(header)
      // A checksum of sums is not much of one: what passes is another name or size, written as we write it.
      if (read !== undefined) assert.ok(encodeTarHeader(read).equals(header))
    }),
  )
  fc.assert(
    fc.property(fc.uint8Array({ minLength: blockBytes, maxLength: blockBytes }), (bytes) => {
      assert.equal(decodeTarHeader(Buffer.from(bytes)), undefined)
    }),
  )
})

test('a name leads nowhere else', () => {
  for (const name of ['../a', '/a', 'a/b', '', 'a b', 'a'.repeat(100)])
    assert.throws(() => encodeTarHeader({ name, sizeBytes: 0 }), { code: 'INTERNAL' }, name)
})

test('files fill whole blocks', () => {
  assert.deepEqual([0, 1, 511, 512, 513].map(paddingOf), [0, 511, 1, 0, 511])
  assert.deepEqual([0, 1, 512].map(entryBytes), [512, 1024, 1024])
})
