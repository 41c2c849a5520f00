import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import fc from 'fast-check'
import { isRametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import { qemuImg, qemuIo, withHome } from '../test-disks.ts'
import { rewriteHeader } from './encode.ts'
import { decodeHeader } from './header.ts'
import { bufferSource } from './source.ts'
import { walkRanges } from './walk.ts'

// Replay a failure with the seed and path that it prints: RAMET_FUZZ_SEED=…  RAMET_FUZZ_PATH=…
const seed = Number(process.env.RAMET_FUZZ_SEED ?? Date.now())
const replay = process.env.RAMET_FUZZ_PATH === undefined ? {} : { path: process.env.RAMET_FUZZ_PATH }
const runs = Number(process.env.RAMET_FUZZ_RUNS ?? 1500)

/** Real files, small: several cluster sizes, with data, zeros, a backing name and compressed clusters. */
async function realFiles(): Promise<Buffer[]> {
  const files: Buffer[] = []
  await withHome(async (home) => {
    const base = await home.path('images', 'a')
    const path = await home.path('vms', 'a')
    await qemuImg('create', '-q', '-f', 'qcow2', '-o', 'cluster_size=512', base, '200k')
    await qemuIo(base, ['write -P 3 1k 9k', 'write -z 20k 4k'])
    files.push(await readFile(base))
    await qemuImg('create', '-q', '-f', 'qcow2', '-o', 'cluster_size=4096', '-b', base, '-F', 'qcow2', path, '8M')
    await qemuIo(path, ['write -P 3 0 64k', 'write -z -u 1M 1M', 'write -P 4 5M 12k'])
    files.push(await readFile(path))
    await qemuImg('convert', '-c', '-f', 'qcow2', '-O', 'qcow2', '-o', 'cluster_size=4096', base, path)
    files.push(await readFile(path))
  })
  return files
}

test('a damaged file is read, or refused as an invalid image; nothing else, and soon', async () => {
  const files = await realFiles()
  // Interesting values at interesting places: header words, and anywhere in the tables.
  const edit = fc.record({
    place: fc.oneof(
      fc.nat(28).map((word) => ({ word })),
      fc.double({ min: 0, max: 1, noNaN: true }).map((part) => ({ part })),
    ),
    value: fc.oneof(fc.constantFrom(0, 1, 0xff, 0xffffffff, 0x80000000, 0x7fffffff), fc.nat(0xffffffff)),
    bytes: fc.constantFrom(1 as const, 4 as const),
  })
  const damage = fc.record({
    file: fc.nat(files.length - 1),
    edits: fc.array(edit, { minLength: 1, maxLength: 6 }),
    keep: fc.oneof(fc.constant(1), fc.double({ min: 0, max: 1, noNaN: true })),
  })
  await fc.assert(
    fc.asyncProperty(damage, async ({ file, edits, keep }) => {
      const original = files[file] ?? Buffer.alloc(0)
      const bytes = Buffer.from(original.subarray(0, Math.ceil(original.length * keep)))
      for (const { place, value, bytes: width } of edits) {
        const offset = 'word' in place ? place.word * 4 : Math.floor(place.part * bytes.length)
        if (offset + width <= bytes.length) bytes.writeUIntBE(value & (width === 1 ? 0xff : 0x7fffffff), offset, width)
      }
      await readOrRefuse(bytes)
    }),
    { numRuns: runs, seed, ...replay },
  )
})

async function readOrRefuse(bytes: Buffer): Promise<void> {
  try {
    const start = bytes.subarray(0, limits.diskHeaderBytes)
    const header = decodeHeader(start, bytes.length)
    let end = 0
    for await (const range of walkRanges(bufferSource(bytes), header)) {
      assert.equal(range.offset, end)
      assert.ok(range.length > 0)
      end += range.length
    }
    assert.equal(end, header.virtualBytes)
    const rewritten = Buffer.from(start)
    rewriteHeader(start, header, {}).copy(rewritten)
    const again = decodeHeader(rewritten, bytes.length)
    assert.deepEqual(again, header)
  } catch (error) {
    if (!isRametError(error, 'IMAGE_INVALID')) throw error
  }
}
