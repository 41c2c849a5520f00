import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { isRametError } from '../../shared/errors.ts'
import { checkProperty } from '../testing/property.ts'
import { type FieldName, type Fields, fieldTable } from './field-table.ts'
import { decodeFields, encodeFields } from './fields.ts'
import { marker } from './marker.ts'

const text = fc.string({ unit: 'grapheme', maxLength: 20 }).filter((value) => !value.includes('\0'))

function arbitraryOf(kind: string, depth: number): fc.Arbitrary<unknown> {
  switch (kind) {
    case 'u':
      return fc.nat({ max: Number.MAX_SAFE_INTEGER })
    case 't':
      return fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })
    case 's':
      return text
    case 'b':
      return fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes))
    case 's*':
      return fc.array(text, { minLength: 1, maxLength: 3 })
    default:
      return fc.array(fieldsOf(depth + 1), { minLength: 1, maxLength: 3 })
  }
}

function fieldsOf(depth: number): fc.Arbitrary<Fields> {
  const names = (Object.keys(fieldTable) as FieldName[]).filter((name) => depth < 3 || fieldTable[name][1] !== 'r*')
  const one = fc
    .constantFrom(...names)
    .chain((name) => arbitraryOf(fieldTable[name][1], depth).map((value) => [name, value]))
  return fc.array(one, { maxLength: 5 }).map((entries) => Object.fromEntries(entries) as Fields)
}

test('what is encoded is decoded', () => {
  checkProperty(
    fc.property(fieldsOf(0), (fields) => {
      assert.deepEqual(decodeFields(encodeFields(fields)), fields)
    }),
    500,
  )
})

test('garbage is refused by code or read as something; it never crashes', () => {
  const field = fc
    .tuple(fc.nat(110), fc.oneof(fc.nat(30), fc.nat()), fc.uint8Array({ maxLength: 30 }))
    .map(([key, size, bytes]) => {
      const header = Buffer.alloc(6)
      header.writeUInt16LE(key, 0)
      header.writeUInt32LE(size, 2)
      return Buffer.concat([header, bytes])
    })
  checkProperty(
    fc.property(
      fc.array(
        fc.oneof(
          field,
          fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
        ),
      ),
      (parts) => {
        try {
          decodeFields(Buffer.concat(parts))
        } catch (error) {
          assert(isRametError(error, 'AGENT_PROTOCOL'))
        }
      },
    ),
    2000,
  )
})

test('records nested as deep as a frame allows are refused, not followed', () => {
  let payload = Buffer.alloc(0)
  while (payload.length < 60_000) {
    const header = Buffer.alloc(6)
    header.writeUInt16LE(fieldTable.entry[0], 0)
    header.writeUInt32LE(payload.length, 2)
    payload = Buffer.concat([header, payload])
  }
  assert.throws(() => decodeFields(payload), { code: 'AGENT_PROTOCOL' })
})

test('unknown keys are left out; a single value twice is refused', () => {
  const unknown = Buffer.from([0xff, 0x7f, 1, 0, 0, 0, 9])
  const known = encodeFields({ path: '/a' })
  assert.deepEqual(decodeFields(Buffer.concat([unknown, known])), { path: '/a' })
  assert.throws(() => decodeFields(Buffer.concat([known, known])), { code: 'AGENT_PROTOCOL' })
})

test('what a field cannot hold is the caller’s mistake', () => {
  assert.throws(() => encodeFields({ path: 'a\0b' }), { code: 'INVALID_ARGUMENT' })
  assert.throws(() => encodeFields({ size: -1 }), { code: 'INVALID_ARGUMENT' })
  assert.throws(() => encodeFields({ size: 1.5 }), { code: 'INVALID_ARGUMENT' })
  assert.throws(() => encodeFields({ timeNs: 2n ** 64n }), { code: 'INVALID_ARGUMENT' })
  assert.throws(() => encodeFields({ seed: marker }), { code: 'INVALID_ARGUMENT' })
  assert.throws(() => encodeFields({ seed: Buffer.alloc(65_536) }), { code: 'TOO_LARGE' })
})
