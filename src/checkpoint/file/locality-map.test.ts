import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import process from 'node:process'
import { test } from 'node:test'
import { discoverPageTables } from '../../memory/page-tables/discover.ts'
import type { PageMap } from '../../memory/page-tables/page-map.ts'
import { PageMapBuilder } from '../../memory/page-tables/page-map-builder.ts'
import { q35Layout } from '../../memory/page-tables/physical-layout.ts'
import { SyntheticGuest } from '../../memory/page-tables/testing/synthetic-guest.ts'
import { isRametError } from '../../shared/errors.ts'
import { decodeLocality, encodeLocality, largestLocalityBytes, localityBytes } from './locality-map.ts'
import { Checkpoint } from './read.ts'
import { sectionAt } from './testing/reseal.ts'
import { bufferSource, randomOf, sampleGuest, sampleLocality, withDirectory } from './testing/sample.ts'
import { type CheckpointParts, writeCheckpoint } from './write.ts'

const pageCount = 100
class Wrong extends Error {}
const decode = (bytes: Buffer, pages = pageCount) => decodeLocality(bytes, pages, (why) => new Wrong(why))

/** What a map tells of every page: by which the pages beside one are found. */
const contentOf = (map: PageMap) =>
  Array.from({ length: map.arrays.pageCount }, (_, page) => map.mappingsOf(page, map.length))

test('a map is read as it was written', () => {
  for (let seed = 1; seed <= 200; seed += 1) {
    const map = sampleLocality(pageCount, randomOf(seed))
    const bytes = encodeLocality(map)
    assert.equal(bytes.length, localityBytes(map))
    const read = decode(bytes)
    assert.deepEqual(read.arrays, map.arrays, `seed ${seed}`)
    assert.deepEqual(contentOf(read), contentOf(map))
  }
})

test('what is found in a guest fits, also where it maps as much as is kept', async () => {
  for (const levels of [4, 5] as const) {
    const layout = q35Layout(4096 * 4096)
    const guest = new SyntheticGuest({ seed: 5, levels, layout })
    const top = 2 ** (9 * levels - 1)
    for (let space = 0; space < 6; space += 1) {
      const root = guest.newRoot()
      // Far up in the user's half, and all of RAM through pages of 1 GiB and 2 MiB.
      for (const virtualPage of [top - 3, top / 2, 77]) guest.map(root, virtualPage, guest.newFrame())
      guest.map(root, 2 ** 18 * 5, 0, { level: 3 })
    }
    const { tables } = await discoverPageTables(guest.image(), layout)
    assert.ok(tables !== undefined)
    assert.equal(tables.whole, false)
    const bytes = encodeLocality(tables.map)
    assert.ok(bytes.length > 0 && bytes.length <= largestLocalityBytes(layout.pageCount))
    assert.deepEqual(decode(bytes, layout.pageCount).arrays, tables.map.arrays)
  }
})

/** Two processes: pages 7 8 9 at 1000, 20 at 2000; and 7 at 5. */
function small(): PageMap {
  const builder = new PageMapBuilder(pageCount, 100)
  builder.beginSpace()
  builder.add(1000, 7, 3)
  builder.add(2000, 20, 1)
  builder.beginSpace()
  builder.add(5, 7, 1)
  return builder.build()
}

/** The section of a small map of other numbers. */
function altered(change: Partial<PageMap['arrays']>): Buffer {
  return encodeLocality({ length: 5, arrays: { ...small().arrays, ...change } } as unknown as PageMap)
}

const impossible: Record<string, [RegExp, Partial<PageMap['arrays']>]> = {
  'a page behind the end': [/pages that there are not/, { pages: Int32Array.of(7, 8, pageCount, 20, 7) }],
  'a page below zero': [/pages that there are not/, { pages: Int32Array.of(7, 8, -1, 20, 7) }],
  'no mappings': [/no mappings/, { pages: new Int32Array(0) }],
  'a first stretch that begins late': [/stretches that are not in order/, { stretchStart: Int32Array.of(1, 3, 4) }],
  'a stretch of no pages': [/stretches that are not in order/, { stretchStart: Int32Array.of(0, 4, 4) }],
  'stretches that go back': [/stretches that are not in order/, { stretchStart: Int32Array.of(0, 4, 3) }],
  'a stretch behind the end': [/stretches that are not in order/, { stretchStart: Int32Array.of(0, 3, 5) }],
  'no stretches': [
    /stretches that are not in order/,
    { stretchStart: new Int32Array(0), stretchPage: new Float64Array(0) },
  ],
  'stretches that overlap': [/overlap/, { stretchPage: Float64Array.of(1000, 1002, 5) }],
  'stretches that descend': [/overlap/, { stretchPage: Float64Array.of(1000, 5, 5) }],
  'an address that no process has': [
    /addresses that there are not/,
    { stretchPage: Float64Array.of(1000, 2000, 2 ** 44) },
  ],
  'address spaces that go back': [/address spaces that are not in order/, { spaceStart: Int32Array.of(0, 4, 3, 5) }],
  'no address spaces': [/address spaces that are not in order/, { spaceStart: Int32Array.of(5) }],
  'an address space that begins in a stretch': [/begin inside a stretch/, { spaceStart: Int32Array.of(0, 2, 5) }],
  'an address space that begins in the last stretch': [
    /begin inside a stretch/,
    { pages: Int32Array.of(7, 8, 9, 20, 7, 7), spaceStart: Int32Array.of(0, 4, 5, 6) },
  ],
  'address spaces behind the end': [/address spaces that are not in order/, { spaceStart: Int32Array.of(0, 4, 77, 5) }],
}

for (const [name, [why, change]] of Object.entries(impossible))
  test(`a map with ${name} is refused`, () => {
    const bytes = name === 'no mappings' ? Buffer.from('000000000000000000000000', 'hex') : altered(change)
    assert.throws(
      () => decode(bytes),
      (error) => error instanceof Wrong && why.test(error.message),
    )
  })

test('a map of other lengths than it says is refused', () => {
  const bytes = encodeLocality(small())
  for (let length = 0; length < bytes.length; length += 1) assert.throws(() => decode(bytes.subarray(0, length)), Wrong)
  assert.throws(() => decode(Buffer.concat([bytes, Buffer.alloc(4)])), Wrong)
  const many = Buffer.from(bytes)
  many.writeUInt32LE(2 ** 32 - 1, 0)
  assert.throws(() => decode(many), Wrong)
})

// RAMET_FUZZ_SEED=N replays case N, RAMET_FUZZ_CASES=N runs more of them.
const caseCount = Number(process.env.RAMET_FUZZ_CASES ?? 3000)
const only = process.env.RAMET_FUZZ_SEED

test(`${caseCount} altered maps are refused, or are maps`, () => {
  const seeds = only === undefined ? Array.from({ length: caseCount }, (_, index) => index + 1) : [Number(only)]
  let refused = 0
  for (const seed of seeds) {
    const random = randomOf(seed)
    const bytes = encodeLocality(sampleLocality(pageCount, random))
    for (let count = 1 + random(3); count > 0; count -= 1) {
      const at = random(bytes.length)
      bytes[at] = random(2) === 0 ? random(256) : ((bytes[at] ?? 0) + random(3) - 1) & 255
    }
    try {
      const map = decode(bytes)
      assert.equal(contentOf(map).flat().length, map.length, `case ${seed}`)
    } catch (error) {
      assert.ok(error instanceof Wrong, `case ${seed} ends in ${error instanceof Error ? error.stack : error}`)
      refused += 1
    }
  }
  if (only === undefined) assert.ok(refused > seeds.length / 4, `only ${refused} were refused`)
})

const written = (parts: CheckpointParts): Promise<Buffer> =>
  withDirectory(async (directory) => {
    await writeCheckpoint(join(directory, 'a'), parts, { workerCount: 1 })
    return readFile(join(directory, 'a'))
  })

test('a checkpoint brings its map along, or says that it has none', async () => {
  const { parts } = sampleGuest()
  const checkpoint = await Checkpoint.open(bufferSource(await written(parts)))
  assert.deepEqual((await checkpoint.readLocality())?.arrays, parts.locality?.arrays)
  const { locality: _, ...without } = parts
  const other = await Checkpoint.open(bufferSource(await written(without)))
  assert.equal(await other.readLocality(), undefined)
  await assert.rejects(written({ ...parts, locality: sampleLocality(99, randomOf(1)) }), { code: 'INTERNAL' })
})

test('a damaged map is an error of the map alone', async () => {
  const { parts } = sampleGuest()
  const bytes = await written(parts)
  const at = Number(bytes.readBigUInt64LE(sectionAt('locality') + 8))
  bytes[at + 20] = (bytes[at + 20] ?? 0) ^ 4
  const checkpoint = await Checkpoint.open(bufferSource(bytes))
  await assert.rejects(
    checkpoint.readLocality(),
    (error) => isRametError(error, 'CHECKPOINT_DAMAGED') && error.details.part === 'locality map',
  )
  for (let block = 0; block < checkpoint.pages.blockCount; block += 1) await checkpoint.readBlock(block)
  await checkpoint.readDeviceState()
})
