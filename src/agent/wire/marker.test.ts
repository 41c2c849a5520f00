import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { checkProperty } from '../testing/property.ts'
import { type Channel, encodeHeader, type Frame, type FrameType } from './frame.ts'
import { containsGuard, marker, OpeningScanner, splitAtGuard } from './marker.ts'

/** Bytes rich in pieces of the marker, the worst that a payload can be made of. */
const markerPieces = fc
  .array(
    fc.oneof(
      fc.tuple(fc.nat(15), fc.nat(16)).map(([from, to]) => marker.subarray(from, Math.max(from, to))),
      fc.constant(marker),
      fc.uint8Array({ maxLength: 6 }).map((bytes) => Buffer.from(bytes)),
    ),
    { maxLength: 24 },
  )
  .map((pieces) => Buffer.concat(pieces))

/** Frames as the host may send them: headers of any legal content, payloads after the split rule. */
const hostFrames = fc
  .array(
    fc.record({
      type: fc.integer({ min: 1, max: 10 }),
      channel: fc.integer({ min: 0, max: 2 }),
      stream: fc.oneof(fc.nat(), fc.constantFrom(0x5200ff, 0x4d4152, 0xff000000, 0x4b4e494c)),
      offset: fc.oneof(
        fc.nat(),
        fc.integer({ min: 0, max: 2 ** 40 - 1 }),
        fc.constantFrom((0xff << 24) >>> 0, 0x52_00_ff_00_00),
      ),
      payload: markerPieces,
    }),
    { maxLength: 8 },
  )
  .map((frames) =>
    frames.flatMap((frame) =>
      splitAtGuard(frame.payload).map(
        (payload): Frame => ({ ...frame, type: frame.type as FrameType, channel: frame.channel as Channel, payload }),
      ),
    ),
  )

test('what the host sends in a session never contains the marker', () => {
  checkProperty(
    fc.property(hostFrames, (frames) => {
      const sent = Buffer.concat(frames.flatMap((frame) => [encodeHeader(frame), frame.payload]))
      assert.equal(sent.indexOf(marker), -1)
    }),
    2000,
  )
})

test('every beginning of the marker, as the end of a payload of any length, stays harmless', () => {
  for (let prefix = 0; prefix <= marker.length; prefix += 1) {
    for (let sizeBytes = 0; sizeBytes <= 65_536; sizeBytes += sizeBytes < 300 ? 1 : 251) {
      const next = encodeHeader({
        type: 6,
        channel: 0,
        stream: 0x01fe5445,
        offset: 0,
        payload: Buffer.alloc(sizeBytes),
      })
      const sent = Buffer.concat(
        splitAtGuard(marker.subarray(0, prefix)).flatMap((piece, index) =>
          index === 0 ? [piece] : [Buffer.alloc(20), piece],
        ),
      )
      assert.equal(Buffer.concat([sent, next]).indexOf(marker), -1)
    }
  }
})

test('a split loses nothing and leaves no guard', () => {
  checkProperty(
    fc.property(markerPieces, (payload) => {
      const pieces = splitAtGuard(payload)
      assert(Buffer.concat(pieces).equals(payload))
      assert(pieces.every((piece) => !containsGuard(piece)))
    }),
    200,
  )
})

test('an opening is found behind anything, however the bytes are cut', () => {
  const nonce = Buffer.from('00112233445566778899aabbccddeeff', 'hex')
  checkProperty(
    fc.property(
      markerPieces,
      fc.uint8Array({ maxLength: 40 }),
      fc.array(fc.nat(9), { maxLength: 200 }),
      (before, after, cuts) => {
        const sent = Buffer.concat([before, marker, nonce, after])
        const scanner = new OpeningScanner()
        let at = 0
        for (let index = 0; at < sent.length; index += 1) {
          const chunk = sent.subarray(at, at + 1 + (cuts[index] ?? 50))
          at += chunk.length
          const found = scanner.push(chunk, (candidate) => candidate.equals(nonce))
          if (found === undefined) continue
          assert(Buffer.concat([found.rest, sent.subarray(at)]).equals(after))
          return
        }
        assert.fail('not found')
      },
    ),
    1000,
  )
})
