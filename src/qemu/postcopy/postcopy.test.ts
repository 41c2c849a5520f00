import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  encodeAdvise,
  encodeDiscard,
  encodeEnd,
  encodeOpenReturnPath,
  encodePackage,
  encodePageHead,
  encodePing,
} from './encode.ts'
import { PageBitmap } from './page-bitmap.ts'
import { ReturnPathDecoder } from './return-path.ts'

const hex = (bytes: Buffer) => bytes.toString('hex')
const blocks = new Map([
  ['mem', 65536],
  ['pc.bios', 64],
])

test('commands are the bytes that QEMU 7.2 was seen to take', () => {
  assert.equal(hex(encodeOpenReturnPath()), '0800010000')
  assert.equal(hex(encodePing(1)), '080002000400000001')
  assert.equal(hex(encodeAdvise()), '080003001000000000000010000000000000001000')
  const whole = encodeDiscard('mem', [{ offsetBytes: 0, lengthBytes: 0x1000_0000 }])
  assert.equal(hex(whole), '080006001600036d656d0000000000000000000000000010000000')
  assert.equal(
    hex(encodePackage(Buffer.from('aa', 'hex'))),
    '080007000400000014080004000' + '0aa0800020004000000030800050000',
  )
  assert.equal(hex(encodePageHead(0xc0000, true, 'mem')), '00000000000c0002036d656d')
  assert.equal(hex(encodePageHead(0x18ed000, false)), '00000000018ed028')
  assert.equal(hex(encodePageHead(0x12_3456_7000, false, 'mem')), '0000001234567008036d656d')
  assert.equal(hex(encodeEnd()), '00000000000000107e0000000203000000020000000000000010' + '7e0000000200')
})

test('a discard of more ranges than one command holds is several', () => {
  const ranges = Array.from({ length: 9_000 }, (_, index) => ({ offsetBytes: index * 8192, lengthBytes: 4096 }))
  const bytes = encodeDiscard('mem', ranges)
  assert.equal(bytes.length, 3 * (5 + 6) + 16 * ranges.length)
})

test('requests are read in whatever pieces they come', () => {
  const bytes = Buffer.from(
    '0003001000000000000c000000001000036d656d' +
      '0004000c00000000018ed00000001000' +
      '0002000400000003' +
      '0001000400000000',
    'hex',
  )
  const expected = [
    { kind: 'request', block: 'mem', offsetBytes: 0xc0000, lengthBytes: 4096 },
    { kind: 'request', block: 'mem', offsetBytes: 0x18ed000, lengthBytes: 4096 },
    { kind: 'pong', value: 3 },
    { kind: 'shut', status: 0 },
  ]
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 20 })), (sizes) => {
      const decoder = new ReturnPathDecoder(blocks)
      const messages = []
      let at = 0
      for (const size of [...sizes, bytes.length]) {
        messages.push(...decoder.push(bytes.subarray(at, at + size)))
        at += size
      }
      assert.deepEqual(messages, expected)
    }),
  )
})

test('a bitmap comes after its message', () => {
  const bytes = Buffer.from(
    '00050008' + '0770632e62696f73' + '0000000000000008' + '0500000000000080' + '0123456789abcdef',
    'hex',
  )
  const decoder = new ReturnPathDecoder(blocks)
  assert.deepEqual(decoder.push(bytes.subarray(0, 20)), [])
  const [message] = decoder.push(bytes.subarray(20))
  assert.ok(message?.kind === 'bitmap')
  const bitmap = new PageBitmap(64, message.bytes)
  assert.deepEqual(
    [bitmap.has(0), bitmap.has(1), bitmap.has(2), bitmap.has(63), bitmap.count],
    [true, false, true, true, 3],
  )
})

test('no bytes make it ask for what is not there, or hold more than they are', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const decoder = new ReturnPathDecoder(blocks)
      try {
        for (const message of decoder.push(Buffer.from(bytes))) {
          if (message.kind !== 'request') continue
          const pages = blocks.get(message.block) ?? 0
          assert.ok(message.offsetBytes + message.lengthBytes <= pages * 4096)
        }
      } catch (error) {
        assert.match(String(error), /makes no sense/)
      }
    }),
    { numRuns: 5_000 },
  )
})

test('what is missing is found', () => {
  fc.assert(
    fc.property(fc.array(fc.boolean(), { maxLength: 70 }), fc.array(fc.boolean(), { maxLength: 70 }), (a, b) => {
      const [needed, sent] = [a, b].map((bits) => {
        const bitmap = new PageBitmap(70)
        bits.forEach((bit, page) => void (bit && bitmap.set(page)))
        return bitmap
      })
      assert.ok(needed && sent)
      const found = []
      for (let page = needed.nextWithout(sent); page !== undefined; page = needed.nextWithout(sent, page + 1))
        found.push(page)
      assert.deepEqual(
        found,
        [...a.keys()].filter((page) => a[page] && !b[page]),
      )
    }),
  )
})
