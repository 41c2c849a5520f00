import assert from 'node:assert/strict'
import { mkdir, open, readFile, stat, symlink, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { detectFileKind } from './file-kind.ts'
import { importImage } from './import.ts'
import { type ImportedRoot, importDisk } from './import-disk.ts'
import type { ImportOptions } from './import-options.ts'
import { importTar } from './import-tar.ts'
import { runTool, type TestPlace, testPlace } from './testing/fixtures.ts'

/** The part of an import that looks at the file; kernel and manifest are the same for all images. */
async function importRoot(place: TestPlace, file: string, options: Partial<ImportOptions> = {}): Promise<ImportedRoot> {
  const work = join(place.dir, `work-${Math.random()}`)
  await mkdir(work)
  const bench = { staging: work, work }
  const kind = await detectFileKind(file)
  const all = { file, ...options }
  if (kind.kind !== 'tar') return importDisk(place.shop(), bench, kind, all)
  return importTar(place.shop(), bench, 'img-000000000000', kind, { diskBytes: 32 * 2 ** 20, ...all })
}

/** A root of a few files as a tar file and as an ext4 file of 8 MiB. */
async function smallRoot(place: TestPlace, withInit: boolean): Promise<{ tar: string; ext4: string }> {
  const root = join(place.dir, 'root')
  await mkdir(join(root, 'bin'), { recursive: true })
  await mkdir(join(root, 'sbin'))
  await writeFile(join(root, 'bin', 'sh'), Buffer.alloc(300_000, 'sh'))
  if (withInit) await symlink('/lib/nowhere', join(root, 'sbin', 'init'))
  const [tar, ext4] = [join(place.dir, 'root.tar'), join(place.dir, 'root.ext4')]
  await runTool('tar', ['-C', root, '-cf', tar, '.'])
  await runTool('mke2fs', ['-q', '-F', '-t', 'ext4', '-d', root, ext4, '8192k'])
  return { tar, ext4 }
}

test('a tar file becomes a file system, packed or not', async () => {
  await using place = await testPlace()
  const { tar } = await smallRoot(place, true)
  const packed = join(place.dir, 'root.tgz')
  await writeFile(packed, gzipSync(await readFile(tar)))
  for (const file of [tar, packed]) {
    const root = await importRoot(place, file)
    assert.equal(root.hasInit, true)
    assert.equal(root.rootDevice, '/dev/vda')
    assert.equal((await stat(root.rawPath)).size, 32 * 2 ** 20)
    assert.match(await runTool('debugfs', ['-R', 'ls -l /bin', root.rawPath]), /100644 .* 300000 .*sh/)
    await runTool('e2fsck', ['-fn', root.rawPath])
  }
})

test('a root without an init is told from one that has it', async () => {
  await using place = await testPlace()
  const { tar, ext4 } = await smallRoot(place, false)
  assert.equal((await importRoot(place, tar)).hasInit, false)
  assert.equal((await importRoot(place, ext4)).hasInit, false)
})

test('tar files that are cut off are refused, wherever the cut is', async () => {
  await using place = await testPlace()
  const { tar } = await smallRoot(place, true)
  const whole = await readFile(tar)
  const cut = join(place.dir, 'cut')
  for (const bytes of [700, 512 * 20, whole.length - 300_032, whole.length - 10_240 - 1]) {
    await writeFile(cut, whole.subarray(0, bytes))
    await assert.rejects(importRoot(place, cut), { code: 'IMAGE_INVALID' }, `${bytes} bytes`)
  }
  const packed = gzipSync(whole)
  await writeFile(cut, packed.subarray(0, packed.length - 9))
  await assert.rejects(importRoot(place, cut), { code: 'IMAGE_INVALID', message: /unexpected end of file/i })
})

test('an ext4 file, and one in qcow2, are copied', async () => {
  await using place = await testPlace()
  const { ext4 } = await smallRoot(place, true)
  const qcow2 = join(place.dir, 'root.qcow2')
  await runTool('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', ext4, qcow2])
  for (const file of [ext4, qcow2]) {
    const root = await importRoot(place, file)
    assert.deepEqual([root.hasInit, root.rootDevice], [true, '/dev/vda'])
    assert.deepEqual(await readFile(root.rawPath), await readFile(ext4))
  }
  const grown = await importRoot(place, ext4, { diskBytes: 16 * 2 ** 20 })
  assert.match(await runTool('dumpe2fs', ['-h', grown.rawPath]), /Block count: +16384/)
  await assert.rejects(importRoot(place, ext4, { diskBytes: 4 * 2 ** 20 }), { code: 'INVALID_ARGUMENT' })
})

test('disks that are cut off, damaged or not for themselves are refused', async () => {
  await using place = await testPlace()
  const { ext4 } = await smallRoot(place, true)
  const qcow2 = join(place.dir, 'root.qcow2')
  await runTool('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', ext4, qcow2])
  const backed = join(place.dir, 'backed.qcow2')
  await runTool('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', qcow2, backed])
  await assert.rejects(importRoot(place, backed), { code: 'IMAGE_INVALID', message: /backing file/ })
  await truncate(qcow2, 400_000)
  await assert.rejects(importRoot(place, qcow2), { code: 'IMAGE_INVALID' })
  await truncate(qcow2, 100)
  await assert.rejects(importRoot(place, qcow2), { code: 'IMAGE_INVALID' })
  await truncate(ext4, 3 * 2 ** 20)
  await assert.rejects(importRoot(place, ext4), { code: 'IMAGE_INVALID', message: /cut off: 3 MiB of 8 MiB/ })
})

test('what is nothing of the kind is refused with what it would have to be', async () => {
  await using place = await testPlace()
  const file = join(place.dir, 'file')
  await writeFile(file, Buffer.alloc(100_000, 'garbage'))
  await assert.rejects(detectFileKind(file), { code: 'IMAGE_INVALID', message: /neither a tar file/ })
  await writeFile(file, '')
  await assert.rejects(detectFileKind(file), { code: 'IMAGE_INVALID', message: /empty/ })
  await assert.rejects(detectFileKind(place.dir), { code: 'IMAGE_INVALID', message: /not a regular file/ })
  await assert.rejects(detectFileKind(join(place.dir, 'none')), { code: 'NOT_FOUND' })
  await mkdir(join(place.dir, 'layers'))
  await writeFile(join(place.dir, 'layers', 'manifest.json'), '[]')
  await runTool('tar', ['-C', join(place.dir, 'layers'), '-cf', file, '.'])
  await assert.rejects(importRoot(place, file), { code: 'IMAGE_INVALID', remediation: /container image/ })
  const context = { imagesDir: place.imagesDir, cacheDir: place.dir }
  await assert.rejects(importImage({ file, diskBytes: 4097 }, context), { code: 'INVALID_ARGUMENT' })
  await assert.rejects(importImage({ file, rootDevice: 'vda1' }, context), { code: 'INVALID_ARGUMENT' })
})

/** A disk of 32 MiB with the file system in the partitions that begin at these sectors. */
async function partitioned(place: TestPlace, ext4: string, starts: number[]): Promise<string> {
  const path = join(place.dir, `disk-${starts.length}`)
  const table = Buffer.alloc(512)
  const content = await readFile(ext4)
  const disk = await open(path, 'w')
  for (const [index, start] of starts.entries()) {
    const at = 446 + 16 * index
    table.writeUInt8(0x83, at + 4)
    table.writeUInt32LE(start, at + 8)
    table.writeUInt32LE(content.length / 512, at + 12)
    // The first is left empty, as a partition of another kind would be.
    if (index > 0) await disk.write(content, 0, content.length, start * 512)
  }
  table.writeUInt16LE(0xaa55, 510)
  await disk.write(table, 0, 512, 0)
  await disk.truncate(32 * 2 ** 20)
  await disk.close()
  return path
}

test('of a partitioned disk the one root is found, of several one must be named', async () => {
  await using place = await testPlace()
  const { ext4 } = await smallRoot(place, true)
  const one = await partitioned(place, ext4, [2048, 20_480])
  assert.deepEqual((await importRoot(place, one)).rootDevice, '/dev/vda2')
  assert.equal((await importRoot(place, one)).hasInit, true)
  await assert.rejects(importRoot(place, one, { rootDevice: 'vda1' }), { code: 'INVALID_ARGUMENT', message: /no ext4/ })
  await assert.rejects(importRoot(place, one, { diskBytes: 64 * 2 ** 20 }), { code: 'INVALID_ARGUMENT' })
  const two = await partitioned(place, ext4, [2048, 20_480, 40_960])
  await assert.rejects(importRoot(place, two), { code: 'IMAGE_INVALID', remediation: /vda2 or \/dev\/vda3/ })
  assert.equal((await importRoot(place, two, { rootDevice: '/dev/vda3' })).rootDevice, '/dev/vda3')
})
