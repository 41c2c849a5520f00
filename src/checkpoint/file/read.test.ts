import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { before, test } from 'node:test'
import { pageBytes } from '../../memory/base.ts'
import { isRametError } from '../../shared/errors.ts'
import { headerBytes, type SectionKind } from './layout.ts'
import type { RangeSource } from './range-source.ts'
import { Checkpoint } from './read.ts'
import { readEverything } from './testing/read-everything.ts'
import { reseal, sectionAt } from './testing/reseal.ts'
import { bufferSource, type SampleGuest, sampleGuest, withDirectory } from './testing/sample.ts'
import { type CheckpointParts, writeCheckpoint } from './write.ts'

let guest: SampleGuest
let file: Buffer
let digest: string

before(() =>
  withDirectory(async (directory) => {
    guest = sampleGuest({ pageCount: 200 })
    const path = join(directory, 'a')
    digest = (await writeCheckpoint(path, guest.parts, { workerCount: 1, blockPages: 8 })).digest
    file = await readFile(path)
  }),
)

/** Opens and reads all; what was handed out before an error must be right. */
const readAll = (bytes: Buffer) => readEverything(bufferSource(bytes), guest.memory)

const isDamaged = (part: RegExp) => (error: unknown) =>
  isRametError(error, 'CHECKPOINT_DAMAGED') &&
  part.test(String(error.details.part)) &&
  error.message.includes('a.checkpoint') &&
  error.remediation.length > 0

test('opening reads the header and the index, and a block is one range', async () => {
  const asked: [number, number][] = []
  const whole = bufferSource(file)
  const source: RangeSource = {
    ...whole,
    readRange: (offset, length) => {
      asked.push([offset, length])
      return whole.readRange(offset, length)
    },
  }
  const checkpoint = await Checkpoint.open(source)
  assert.equal(asked.length, 2)
  assert.deepEqual(asked[0], [0, headerBytes])
  assert.equal((asked[1]?.[0] ?? 0) + (asked[1]?.[1] ?? 0), file.length)
  await checkpoint.readBlock(3)
  const { offsetBytes, storedBytes } = checkpoint.rangeOf(3)
  assert.deepEqual(asked[2], [offsetBytes, storedBytes])
  assert.equal(checkpoint.rangeOf(4).offsetBytes, offsetBytes + storedBytes)
})

test('blocks that were read together are decoded one by one', async () => {
  const checkpoint = await Checkpoint.open(bufferSource(file))
  const [first, second] = [checkpoint.rangeOf(1), checkpoint.rangeOf(2)]
  const both = file.subarray(first.offsetBytes, second.offsetBytes + second.storedBytes)
  assert.deepEqual(checkpoint.decodeBlock(1, both.subarray(0, first.storedBytes)), await checkpoint.readBlock(1))
  assert.deepEqual(checkpoint.decodeBlock(2, both.subarray(first.storedBytes)), await checkpoint.readBlock(2))
  assert.throws(() => checkpoint.decodeBlock(1, both), isDamaged(/^block 1$/))
})

test('the size of the source need not be known', async () => {
  const checkpoint = await Checkpoint.open({ ...bufferSource(file), sizeBytes: undefined })
  assert.equal(checkpoint.pages.pageCount, 200)
  const cut = file.subarray(0, -1)
  await assert.rejects(Checkpoint.open({ ...bufferSource(cut), sizeBytes: undefined }), isDamaged(/block table/))
})

/** Writes a guest and gives the bytes of its file. */
const written = (parts: CheckpointParts, blockPages: number): Promise<Buffer> =>
  withDirectory(async (directory) => {
    const path = join(directory, 'a')
    await writeCheckpoint(path, parts, { workerCount: 1, blockPages })
    return readFile(path)
  })

test('every part of the file is guarded', async () => {
  const { memory, parts } = sampleGuest({ pageCount: 16 })
  const bytes = await written(parts, 4)
  await readEverything(bufferSource(bytes), memory)
  // A bit of every byte of header and index, and of many of the blocks: to a checksum all bits are alike.
  const indexAt = Number(bytes.readBigUInt64LE(sectionAt('devices') + 8))
  for (let at = 0; at < bytes.length; at += at < headerBytes || at >= indexAt ? 1 : 53) {
    const altered = Buffer.from(bytes)
    altered[at] = (altered[at] ?? 0) ^ (1 << (at % 8))
    await assert.rejects(readEverything(bufferSource(altered), memory), isDamaged(/./), `byte ${at}`)
  }
})

test('a damaged block costs that block alone', async () => {
  const { offsetBytes } = (await Checkpoint.open(bufferSource(file))).rangeOf(5)
  const altered = Buffer.from(file)
  altered[offsetBytes + 3] = (altered[offsetBytes + 3] ?? 0) ^ 0x10
  const checkpoint = await Checkpoint.open(bufferSource(altered))
  await assert.rejects(checkpoint.readBlock(5), isDamaged(/^block 5$/))
  assert.equal((await checkpoint.readBlock(4)).length, 8 * pageBytes)
  assert.equal((await checkpoint.readBlock(6)).length, 8 * pageBytes)
})

test('blocks in each other’s places are noticed', async () => {
  const { parts } = sampleGuest({ pageCount: 64, base: false })
  // Pages that compress to the same length.
  const read = (page: number, into: Buffer) => {
    into.fill(1)
    into.writeUInt32LE(page * 7919 + 1)
    return 'data' as const
  }
  const bytes = await written({ ...parts, pages: { read } }, 1)
  const checkpoint = await Checkpoint.open(bufferSource(bytes))
  const [one, other] = [checkpoint.rangeOf(10), checkpoint.rangeOf(11)]
  assert.equal(one.storedBytes, other.storedBytes)
  const swapped = Buffer.from(bytes)
  bytes.copy(swapped, one.offsetBytes, other.offsetBytes, other.offsetBytes + other.storedBytes)
  await assert.rejects((await Checkpoint.open(bufferSource(swapped))).readBlock(10), isDamaged(/^block 10$/))
})

test('a file cut off anywhere is refused', async () => {
  for (let length = 0; length < file.length; length += length < 2000 ? 37 : 4001) {
    await assert.rejects(readAll(file.subarray(0, length)), isDamaged(/header|file/), `${length} bytes`)
  }
  await assert.rejects(readAll(Buffer.concat([file, Buffer.alloc(1)])), isDamaged(/file/))
})

test('another checkpoint than the one meant is refused', async () => {
  assert.equal((await Checkpoint.open(bufferSource(file), { digest })).digest, digest)
  await assert.rejects(Checkpoint.open(bufferSource(file), { digest: 'a'.repeat(64) }), isDamaged(/file/))
})

test('more memory than the host has is refused before the index is read', async () => {
  const source = bufferSource(file)
  const onlyHeader: RangeSource = {
    ...source,
    readRange: (offset, length) => {
      assert.equal(offset, 0)
      return source.readRange(offset, length)
    },
  }
  await assert.rejects(Checkpoint.open(onlyHeader, { maxMemoryBytes: 199 * pageBytes }), { code: 'CHECKPOINT_UNFIT' })
  await Checkpoint.open(source, { maxMemoryBytes: 200 * pageBytes })
})

test('a file of another version is refused as such', async () => {
  const newer = Buffer.from(file)
  newer.writeUInt32LE(2, 8)
  reseal(newer)
  await assert.rejects(
    Checkpoint.open(bufferSource(newer)),
    (error) => isRametError(error, 'CHECKPOINT_UNFIT') && /newer Ramet/.test(error.remediation),
  )
})

const lies: Record<string, (bytes: Buffer) => void> = {
  'memory of 2^52 bytes': (bytes) => bytes.writeBigUInt64LE(2n ** 52n, 24),
  'memory of half a page': (bytes) => bytes.writeBigUInt64LE(2048n, 24),
  'twice the memory': (bytes) => bytes.writeBigUInt64LE(bytes.readBigUInt64LE(24) * 2n, 24),
  'no memory': (bytes) => bytes.writeBigUInt64LE(0n, 24),
  'blocks of no page': (bytes) => bytes.writeUInt32LE(0, 36),
  'blocks of 2^31 pages': (bytes) => bytes.writeUInt32LE(2 ** 31, 36),
  'blocks of more pages': (bytes) => bytes.writeUInt32LE(9, 36),
  'huge pages': (bytes) => bytes.writeUInt32LE(2 ** 21, 32),
  'a reserved field': (bytes) => bytes.writeUInt32LE(1, 44),
  'an unknown codec': (bytes) => bytes.writeUInt32LE(7, sectionAt('devices') + 4),
  'a section of another kind': (bytes) => bytes.writeUInt32LE(3, sectionAt('devices')),
  'a section of 2^64 bytes': (bytes) => bytes.writeBigUInt64LE(2n ** 64n - 1n, sectionAt('order') + 16),
  'a section that becomes 2^40 bytes': (bytes) => bytes.writeBigUInt64LE(2n ** 40n, sectionAt('devices') + 24),
  'a section before the blocks': (bytes) => bytes.writeBigUInt64LE(0n, sectionAt('devices') + 8),
  'another length of the devices': (bytes) =>
    bytes.writeBigUInt64LE(bytes.readBigUInt64LE(sectionAt('devices') + 24) + 1n, sectionAt('devices') + 24),
}

for (const [name, lie] of Object.entries(lies)) {
  test(`a header that tells of ${name} is refused, its checksum notwithstanding`, async () => {
    const altered = Buffer.from(file)
    lie(altered)
    reseal(altered)
    await assert.rejects(readAll(altered), isDamaged(/./))
  })
}

const startOf = (bytes: Buffer, kind: SectionKind) => Number(bytes.readBigUInt64LE(sectionAt(kind) + 8))

test('a block table that has another end than the blocks is refused, its checksum notwithstanding', async () => {
  const altered = Buffer.from(file)
  const at = startOf(altered, 'blocks')
  altered.writeUInt32LE(altered.readUInt32LE(at) - 1, at)
  await assert.rejects(Checkpoint.open(bufferSource(reseal(altered))), isDamaged(/^block table$/))
})

test('a manifest that counts otherwise is refused, its checksum notwithstanding', async () => {
  const altered = Buffer.from(file)
  const name = '"storedBytes": '
  const at = altered.indexOf(name, startOf(altered, 'manifest')) + name.length
  altered[at] = altered[at] === 0x31 ? 0x32 : 0x31
  await assert.rejects(Checkpoint.open(bufferSource(reseal(altered))), isDamaged(/^manifest$/))
})

test('a source that fails is not taken for a damaged file', async () => {
  const checkpoint = await Checkpoint.open(bufferSource(file))
  assert.ok(checkpoint.pages.blockCount > 0)
  const gone = Object.assign(new Error('no route'), { code: 'EHOSTUNREACH' })
  await assert.rejects(Checkpoint.open({ ...bufferSource(file), readRange: () => Promise.reject(gone) }), gone)
})
