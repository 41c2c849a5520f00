import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decodeLz4Legacy } from './lz4.ts'

/** A container of one block. */
function container(block: number[]): Buffer {
  const head = Buffer.alloc(8)
  head.writeUInt32LE(0x184c2102, 0)
  head.writeUInt32LE(block.length, 4)
  return Buffer.concat([head, Buffer.from(block)])
}

const text = (value: string) => [...Buffer.from(value)]

test('literals alone', () => {
  assert.equal(decodeLz4Legacy(container([0x50, ...text('hello')]), 5).toString(), 'hello')
})

test('a match that overlaps what it produces repeats', () => {
  // 'ab', then 6 bytes from 2 back, then 'c'
  const block = [0x22, ...text('ab'), 2, 0, 0x10, ...text('c')]
  assert.equal(decodeLz4Legacy(container(block), 9).toString(), 'ababababc')
})

test('lengths beyond 15 go on in further bytes', () => {
  const long = 'x'.repeat(15 + 255 + 3)
  assert.equal(decodeLz4Legacy(container([0xf0, 255, 3, ...text(long)]), long.length).toString(), long)
  // 'a', then a match of 4 + 15 + 7 from 1 back, then 'b'
  const block = [0x1f, ...text('a'), 1, 0, 7, 0x10, ...text('b')]
  assert.equal(decodeLz4Legacy(container(block), 28).toString(), `${'a'.repeat(27)}b`)
})

test('damaged data are an error, wherever they are damaged', () => {
  const good = container([0x22, ...text('ab'), 2, 0, 0x10, ...text('c')])
  for (let length = 0; length < good.length; length += 1) {
    assert.throws(() => decodeLz4Legacy(good.subarray(0, length), 9), { code: 'IMAGE_INVALID' }, `cut at ${length}`)
  }
  const farBack = container([0x22, ...text('ab'), 9, 0, 0x10, ...text('c')])
  assert.throws(() => decodeLz4Legacy(farBack, 9), /out of range/)
  assert.throws(() => decodeLz4Legacy(good, 8), { code: 'IMAGE_INVALID' })
})
