import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FileContent } from '../../agent/file-transfer.ts'
import { isRametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import { type MeasuredContent, measure } from './file-content.ts'

function file(sizeBytes: number, pieces: Iterable<string>): FileContent {
  const body = (async function* () {
    for (const piece of pieces) yield Buffer.from(piece)
  })()
  return { sizeBytes, cancel: () => {}, [Symbol.asyncIterator]: () => body }
}

async function read({ lengthBytes, body }: MeasuredContent): Promise<string> {
  const pieces: Uint8Array[] = []
  for await (const piece of body) pieces.push(piece)
  const bytes = Buffer.concat(pieces)
  assert.equal(bytes.length, lengthBytes)
  return bytes.toString()
}

const large = 'x'.repeat(limits.fileBufferBytes)

test('what is really there decides: more than nothing in /proc, less than a page in /sys', async () => {
  assert.equal(await read(await measure(file(0, ['one', 'two']), '/proc/x', { offset: 0 })), 'onetwo')
  assert.equal(await read(await measure(file(0, []), '/empty', { offset: 0 })), '')
  assert.equal(await read(await measure(file(4096, ['on\n']), '/sys/x', { offset: 0 })), 'on\n')
  assert.equal(await read(await measure(file(0, ['ne']), '/proc/x', { offset: 1, lengthBytes: 2 })), 'ne')
})

test('a large file is passed on as it comes, and no more of it than was announced', async () => {
  const size = large.length + 2
  const content = await measure(file(size, [large, 'abcd']), '/log', { offset: 0 })
  assert.equal((await read(content)).slice(-2), 'ab')
  const part = await measure(file(size + 9, [large, 'abcd']), '/log', { offset: 9, lengthBytes: size })
  assert.equal((await read(part)).length, size)
})

test('a file that grows without end while it is read is what it was when it was opened', async () => {
  assert.equal(await read(await measure(file(3, [large, large]), '/log', { offset: 0 })), 'xxx')
})

test('a file without a stated size that does not end is refused', async () => {
  await assert.rejects(measure(file(0, [large, 'x', large]), '/proc/kmsg', { offset: 0 }), (error) =>
    isRametError(error, 'TOO_LARGE'),
  )
})
