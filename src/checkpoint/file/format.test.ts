import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { Checkpoint } from './read.ts'
import { bufferSource } from './testing/sample.ts'
import { sampleManifest } from './testing/sample-manifest.ts'

// A file put together by docs/checkpoint-format.md alone, number by number: while this is read, version 1 is version 1.

const digestOf = (bytes: Buffer) => createHash('sha256').update(bytes).digest()

/** Five pages in blocks of two: page 4, page 1 | page 3. Page 0 is zeros, page 2 the base's. Nothing is compressed. */
function fileByHand(): Buffer {
  const block0 = Buffer.concat([Buffer.alloc(4096, 0x44), Buffer.alloc(4096, 0x11)])
  const block1 = Buffer.alloc(4096, 0x33)
  const devices = Buffer.from('devices')
  const roms = Buffer.alloc(4096, 0x99)
  // Two processes: the first sees page 4 and page 1 at virtual pages 0x100000010 and 0x100000011, the other page 3 at 7.
  const locality = Buffer.concat([
    // positions, stretches, address spaces
    Buffer.from([3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0]),
    // pages 4, 1, 3; stretches from 0 and 2; their first virtual pages, lower and upper halves; spaces from 0 and 2
    Buffer.from([0x04, 0xfd, 0x02, 0, 0xff, 0, 0, 0xff, 0, 0, 0xff, 0]),
    Buffer.from([0, 2, 0, 0, 0, 0, 0, 0]),
    Buffer.from([0x10, 0xf7, 0, 0xff, 0, 0xff, 0, 0xff]),
    Buffer.from([1, 0xff, 0, 0xff, 0, 0xff, 0, 0xff]),
    Buffer.from([0, 2, 0, 0, 0, 0, 0, 0]),
  ])
  const manifest = Buffer.from(JSON.stringify(manifestOfFive()))
  const zeroMap = Buffer.from([0b00001])
  const baseMap = Buffer.from([0b00100])
  // 4, 1, 3 as differences: +4, -3, +2; lowest bytes first, then the planes above them
  const order = Buffer.from([0x04, 0xfd, 0x02, 0, 0xff, 0, 0, 0xff, 0, 0, 0xff, 0])
  const blocks = Buffer.concat([
    Buffer.from([0, 0x20, 0, 0]),
    digestOf(block0).subarray(0, 16),
    Buffer.from([0, 0x10, 0, 0]),
    digestOf(block1).subarray(0, 16),
  ])
  const header = Buffer.alloc(1024)
  header.set([0x89, 0x52, 0x41, 0x4d, 0x43, 0x4b, 0x0d, 0x0a])
  header.writeUInt32LE(1, 8)
  header.writeUInt32LE(1024, 12)
  header.writeUInt32LE(5 * 4096, 24)
  header.writeUInt32LE(4096, 32)
  header.writeUInt32LE(2, 36)
  header.writeUInt32LE(8, 40)
  let end = 1024 + 3 * 4096
  const sections = [devices, roms, locality, manifest, zeroMap, baseMap, order, blocks]
  for (const [index, section] of sections.entries()) {
    const at = 48 + 64 * index
    header.writeUInt32LE(index + 1, at)
    header.writeUInt32LE(end, at + 8)
    header.writeUInt32LE(section.length, at + 16)
    header.writeUInt32LE(section.length, at + 24)
    digestOf(section).copy(header, at + 32)
    end += section.length
  }
  header.writeUInt32LE(end, 16)
  digestOf(header.subarray(0, 992)).copy(header, 992)
  return Buffer.concat([header, block0, block1, ...sections])
}

function manifestOfFive() {
  const manifest = sampleManifest()
  return {
    ...manifest,
    machine: { ...manifest.machine, memoryBytes: 5 * 4096 },
    ramBlocks: [
      { name: 'mem', usedBytes: 5 * 4096, content: 'pages' },
      { name: 'pc.bios', usedBytes: 4096, content: 'rom' },
    ],
    counts: { pages: 5, zero: 1, base: 1, stored: 3, blocks: 2, storedBytes: 3 * 4096 },
  }
}

test('a file made by the description of the format is read', async () => {
  const bytes = fileByHand()
  const checkpoint = await Checkpoint.open(bufferSource(bytes))
  const { pages } = checkpoint
  assert.deepEqual(
    [0, 1, 2, 3, 4].map((page) => pages.kindOf(page)),
    ['zero', 'stored', 'base', 'stored', 'stored'],
  )
  assert.deepEqual([...pages.pagesOf(0), ...pages.pagesOf(1)], [4, 1, 3])
  const block = await checkpoint.readBlock(0)
  assert.deepEqual([block.length, block[0], block[4096]], [8192, 0x44, 0x11])
  assert.equal((await checkpoint.readBlock(1))[0], 0x33)
  assert.equal((await checkpoint.readDeviceState()).toString(), 'devices')
  assert.deepEqual(await checkpoint.readRoms(), [{ block: 'pc.bios', offsetBytes: 0, data: Buffer.alloc(4096, 0x99) }])
  const locality = await checkpoint.readLocality()
  assert.deepEqual(
    [4, 1, 3].map((page) => locality?.mappingsOf(page, 2)),
    [
      [{ space: 0, virtualPage: 2 ** 32 + 16, position: 0 }],
      [{ space: 0, virtualPage: 2 ** 32 + 17, position: 1 }],
      [{ space: 1, virtualPage: 7, position: 2 }],
    ],
  )
  assert.equal(checkpoint.digest, bytes.toString('hex', 992, 1024))
})
