import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type Channel, channels, dataHeaderBytes, decodeDataFrame, encodeDataFrame } from './exec-socket.ts'

const names = Object.keys(channels) as Channel[]

test('a data frame reads back as it was written', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...names),
      fc.maxSafeNat(),
      fc.uint8Array({ minLength: 1, maxLength: 100 }),
      (channel, offset, data) => {
        fc.pre(Number.isSafeInteger(offset + data.length + dataHeaderBytes))
        const frame = decodeDataFrame(encodeDataFrame({ channel, offset, data }))
        assert.deepEqual(frame && { ...frame, data: Uint8Array.from(frame.data) }, { channel, offset, data })
      },
    ),
  )
})

test('the layout is one byte of channel and eight of offset, big-endian', () => {
  const bytes = encodeDataFrame({ channel: 'stderr', offset: 0x0102030405, data: Uint8Array.of(7) })
  assert.deepEqual([...bytes], [2, 0, 0, 0, 1, 2, 3, 4, 5, 7])
})

test('anything else is no frame, and reading it never fails', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 32 }), (bytes) => {
      const frame = decodeDataFrame(bytes)
      if (frame !== undefined) assert.deepEqual(encodeDataFrame(frame), bytes)
    }),
  )
  assert.equal(decodeDataFrame(Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, 0)), undefined, 'no data')
  assert.equal(decodeDataFrame(Uint8Array.of(3, 0, 0, 0, 0, 0, 0, 0, 0, 1)), undefined, 'unknown channel')
  assert.equal(decodeDataFrame(Uint8Array.of(1, 255, 0, 0, 0, 0, 0, 0, 0, 1)), undefined, 'offset beyond all measure')
})
