import assert from 'node:assert/strict'
import { readdir, readFile, symlink, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { isRametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import { sha256 } from './layout.ts'
import { randomOf, withDirectory } from './testing/sample.ts'
import {
  addWorkingSet,
  decodeWorkingSets,
  encodeWorkingSets,
  readWorkingSets,
  type WorkingSet,
  workingSetPath,
  writeWorkingSets,
} from './working-set.ts'

const digest = 'c0'.repeat(32)
const setOf = (pages: number[], time = 1000): WorkingSet => ({
  recordedAt: new Date(time),
  pages: Uint32Array.from(pages),
})

test('working sets stand beside the checkpoint and are replaced as a whole', () =>
  withDirectory(async (directory) => {
    const path = join(directory, 'vm.checkpoint')
    assert.deepEqual(await readWorkingSets(path, digest, 100), [])
    await writeWorkingSets(path, digest, [setOf([5, 99, 0])])
    const sets = addWorkingSet(await readWorkingSets(path, digest, 100), setOf([7], 2000))
    await writeWorkingSets(path, digest, sets)
    assert.deepEqual(await readWorkingSets(path, digest, 100), [setOf([5, 99, 0]), setOf([7], 2000)])
    assert.deepEqual(await readdir(directory), ['vm.checkpoint.working-set'])
    assert.deepEqual(await readWorkingSets(path, 'ff'.repeat(32), 100), [], 'of another checkpoint')
  }))

test('the newest sets are kept', () => {
  let sets: WorkingSet[] = []
  for (let time = 1; time <= limits.workingSetCount + 3; time += 1) sets = addWorkingSet(sets, setOf([time], time))
  assert.equal(sets.length, limits.workingSetCount)
  assert.deepEqual(sets.at(-1), setOf([limits.workingSetCount + 3], limits.workingSetCount + 3))
})

test('sets of any pages are decoded to what they were', () => {
  fc.assert(
    fc.property(fc.array(fc.array(fc.nat(4999)), { maxLength: limits.workingSetCount }), (lists) => {
      const sets = lists.map((pages) => setOf(pages))
      assert.deepEqual(decodeWorkingSets(encodeWorkingSets(digest, sets), digest, 5000, 'a'), sets)
    }),
  )
})

const refuses = (bytes: Buffer, pageCount = 5000) =>
  assert.throws(
    () => decodeWorkingSets(bytes, digest, pageCount, 'a.working-set'),
    (error) => isRametError(error, 'CHECKPOINT_DAMAGED') && error.message.includes('a.working-set'),
  )

test('an altered bit anywhere, and a file cut off anywhere, are noticed', () => {
  const bytes = encodeWorkingSets(digest, [setOf([1, 2, 3, 4000])])
  for (let bit = 0; bit < bytes.length * 8; bit += 1) {
    const altered = Buffer.from(bytes)
    altered[bit >>> 3] = (altered[bit >>> 3] ?? 0) ^ (1 << (bit & 7))
    refuses(altered)
  }
  for (let length = 0; length < bytes.length; length += 1) refuses(bytes.subarray(0, length))
  refuses(Buffer.concat([bytes, Buffer.alloc(1)]))
})

test('what lies with a right checksum is refused or harmless', () => {
  const bytes = encodeWorkingSets(digest, [setOf(Array.from({ length: 300 }, (_, page) => page)), setOf([1])])
  refuses(bytes, 299)
  for (let seed = 1; seed <= 3000; seed += 1) {
    const random = randomOf(seed)
    const altered = Buffer.from(bytes)
    for (let count = 1 + random(3); count > 0; count -= 1) altered[8 + random(altered.length - 8)] = random(256)
    sha256(Buffer.concat([altered.subarray(0, 64), altered.subarray(96)])).copy(altered, 64)
    try {
      for (const { pages } of decodeWorkingSets(altered, digest, 5000, 'a'))
        assert.ok(
          pages.every((page) => page < 5000),
          `case ${seed}`,
        )
    } catch (error) {
      assert.ok(isRametError(error, 'CHECKPOINT_DAMAGED'), `case ${seed}: ${String(error)}`)
    }
  }
})

test('a link or a giant in the place of working sets is refused', () =>
  withDirectory(async (directory) => {
    const path = join(directory, 'a')
    await writeFile(workingSetPath(path), Buffer.alloc(100_000))
    await assert.rejects(readWorkingSets(path, digest, 100), { code: 'CHECKPOINT_DAMAGED' })
    assert.equal((await readFile(workingSetPath(path))).length, 100_000)
    await unlink(workingSetPath(path))
    await symlink('/etc/hostname', workingSetPath(path))
    await assert.rejects(readWorkingSets(path, digest, 100), { code: 'ELOOP' })
  }))
