import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import fc from 'fast-check'
import { isRametError } from '../../shared/errors.ts'
import { deltaOver, qemuImg, qemuIo, sealedImage, withHome } from '../test-disks.ts'
import { decodeHeader } from './header.ts'
import { bufferSource } from './source.ts'
import { type DiskRange, summarizeRanges, walkRanges } from './walk.ts'

async function rangesOf(file: Buffer): Promise<DiskRange[]> {
  return Array.fromAsync(walkRanges(bufferSource(file), decodeHeader(file, file.length)))
}

/** The same, from `qemu-img map`: what it found at depth 0 is said by the top file. */
async function mapOf(path: string): Promise<DiskRange[]> {
  const map: { start: number; length: number; depth: number; data: boolean }[] = JSON.parse(
    await qemuImg('map', '--output', 'json', path),
  )
  const merged: DiskRange[] = []
  for (const { start, length, depth, data } of map) {
    const kind = depth > 0 ? 'unallocated' : data ? 'data' : 'zero'
    const last = merged.at(-1)
    if (last?.kind === kind) merged[merged.length - 1] = { ...last, length: last.length + length }
    else merged.push({ offset: start, length, kind })
  }
  return merged
}

const mib = 2 ** 20

test('the ranges of any delta are those that qemu-img sees', () =>
  withHome(async (home) => {
    const base = await sealedImage(home)
    const step = fc.record({
      op: fc.constantFrom('write -P 5', 'write -z -u', 'discard'),
      start: fc.nat(1023).map((cluster) => cluster * 65536),
      length: fc.integer({ min: 1, max: 64 }).map((count) => count * 65536),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 12 }), async (steps) => {
        const path = await deltaOver(home, base)
        const commands = steps.map(({ op, start, length }) => `${op} ${start} ${Math.min(length, 64 * mib - start)}`)
        await qemuIo(path, commands)
        assert.deepEqual(await rangesOf(await readFile(path)), await mapOf(path))
      }),
      { numRuns: 12 },
    )
  }))

test('small clusters, compressed clusters and disks of odd size are summed up rightly', () =>
  withHome(async (home) => {
    const path = await home.path('vms', 'a')
    const packed = await home.path('vms', 'b')
    await qemuImg('create', '-q', '-f', 'qcow2', '-o', 'cluster_size=512', path, `${3 * mib + 512}`)
    await qemuIo(path, [`write -P 1 ${mib} 1000k`, `write -P 1 ${3 * mib} 512`, 'write -z 0 64k'])
    const file = await readFile(path)
    assert.deepEqual(await summarizeRanges(bufferSource(file), decodeHeader(file, file.length)), {
      dataBytes: 1000 * 1024 + 512,
      zeroBytes: 65536,
      unallocatedBytes: 3 * mib - 1000 * 1024 - 65536,
    })

    await qemuImg('convert', '-c', '-f', 'qcow2', '-O', 'qcow2', path, packed)
    const packedFile = await readFile(packed)
    const sums = await summarizeRanges(bufferSource(packedFile), decodeHeader(packedFile, packedFile.length))
    assert.equal(sums.dataBytes, 16 * 65536 + 512)
  }))

test('tables that lead out of the file, or to one another without end, are refused', () =>
  withHome(async (home) => {
    const base = await sealedImage(home)
    const path = await deltaOver(home, base)
    await qemuIo(path, ['write -P 1 0 128k'])
    const good = await readFile(path)
    const { l1Offset } = decodeHeader(good, good.length)
    const invalid = (error: unknown) => isRametError(error, 'IMAGE_INVALID')

    for (const entry of [1n << 55n, 512n, (1n << 60n) | 65536n, BigInt(good.length)]) {
      const file = Buffer.from(good)
      file.writeBigUInt64BE(entry, l1Offset)
      await assert.rejects(rangesOf(file), invalid, `first-level entry 0x${entry.toString(16)}`)
    }
    const l2Offset = Number(good.readBigUInt64BE(l1Offset) & 0x00ffffffffffffffn)
    for (const entry of [1n << 50n, 512n * 3n, 1n << 57n, (1n << 62n) | (1n << 50n), 2n]) {
      const file = Buffer.from(good)
      file.writeBigUInt64BE(entry, l2Offset)
      await assert.rejects(rangesOf(file), invalid, `second-level entry 0x${entry.toString(16)}`)
    }
    await assert.rejects(rangesOf(good.subarray(0, l2Offset + 100)), invalid)
  }))
