import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { isRametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import { checkProperty } from '../testing/property.ts'
import { FrameDecoder } from './decoder.ts'
import { type Channel, encodeHeader, type Frame, frameType } from './frame.ts'

const every: ReadonlySet<number> = new Set(Object.values(frameType))

const frames = fc.array(
  fc.oneof(
    fc.record({
      type: fc.constant(frameType.data),
      channel: fc.constantFrom<Channel>(0, 1, 2),
      stream: fc.nat(),
      offset: fc.integer({ min: 0, max: 2 ** 40 - 1 }),
      payload: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
    }),
    fc.record({
      type: fc.constantFrom(frameType.response, frameType.event, frameType.reset),
      channel: fc.constant<Channel>(0),
      stream: fc.nat(),
      offset: fc.constant(0),
      payload: fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)),
    }),
    fc.record({
      type: fc.constantFrom(frameType.ack, frameType.eof),
      channel: fc.constantFrom<Channel>(0, 1, 2),
      stream: fc.nat(),
      offset: fc.integer({ min: 0, max: 2 ** 40 - 1 }),
      payload: fc.constant(Buffer.alloc(0)),
    }),
  ),
  { maxLength: 12 },
)

test('any cut of the byte stream decodes alike', () => {
  checkProperty(
    fc.property(frames, fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1, maxLength: 40 }), (sent, sizes) => {
      const bytes = Buffer.concat(sent.flatMap((frame) => [encodeHeader(frame), frame.payload]))
      const received: Frame[] = []
      // A copy each: a payload is a view of the chunk that it came in.
      const decoder = new FrameDecoder(every, (frame) =>
        received.push({ ...frame, payload: Buffer.from(frame.payload) }),
      )
      for (let at = 0, index = 0; at < bytes.length; index += 1) {
        const size = sizes[index % sizes.length] ?? 1
        decoder.push(bytes.subarray(at, at + size))
        at += size
      }
      assert.deepEqual(
        received,
        sent.map((frame) => ({ ...frame })),
      )
    }),
    500,
  )
})

test('garbage is refused by code, or waits for more; it never crashes', () => {
  const header = fc
    .tuple(fc.nat(70_000), fc.nat(12), fc.nat(3), fc.constantFrom(0, 0, 0, 1), fc.nat(), fc.nat(2 ** 41), fc.nat(40))
    .map(([size, type, channel, reserved, stream, offset, tail]) => {
      const bytes = Buffer.alloc(20 + tail)
      bytes.writeUInt32LE(size, 0)
      bytes.writeUInt8(type, 4)
      bytes.writeUInt8(channel, 5)
      bytes.writeUInt16LE(reserved, 6)
      bytes.writeUInt32LE(stream, 8)
      bytes.writeBigUInt64LE(BigInt(offset), 12)
      return bytes
    })
  const noise = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes))
  checkProperty(
    fc.property(fc.array(fc.oneof(header, noise), { maxLength: 20 }), (chunks) => {
      const decoder = new FrameDecoder(every, (frame) => assert(frame.payload.length <= limits.framePayloadBytes))
      try {
        for (const chunk of chunks) decoder.push(chunk)
      } catch (error) {
        assert(isRametError(error, 'AGENT_PROTOCOL'))
        // It has stopped: whatever follows is not looked at.
        decoder.push(Buffer.alloc(100, 0xff))
      }
    }),
    2000,
  )
})

test('a header that promises too much is refused before anything is kept for it', () => {
  const decoder = new FrameDecoder(every, () => assert.fail('no frame'))
  const header = Buffer.alloc(20)
  header.writeUInt32LE(0xffffffff, 0)
  header.writeUInt8(frameType.data, 4)
  assert.throws(() => decoder.push(header), { code: 'AGENT_PROTOCOL' })
})

test('after stop not even the frames of the same chunk are handed on', () => {
  let count = 0
  const decoder = new FrameDecoder(every, () => {
    count += 1
    decoder.stop()
  })
  const frame = encodeHeader({ type: frameType.eof, channel: 1, stream: 1, offset: 0, payload: Buffer.alloc(0) })
  decoder.push(Buffer.concat([frame, frame]))
  assert.equal(count, 1)
})
