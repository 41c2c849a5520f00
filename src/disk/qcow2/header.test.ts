import assert from 'node:assert/strict'
import { readFile, truncate, writeFile } from 'node:fs/promises'
import { test } from 'node:test'
import { isRametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import { qemuImg, withHome } from '../test-disks.ts'
import { encodeEmptyDisk, rewriteHeader } from './encode.ts'
import { field, incompatible } from './format.ts'
import { decodeHeader } from './header.ts'

const invalid = (pattern: RegExp) => (error: unknown) =>
  isRametError(error, 'IMAGE_INVALID') && pattern.test(error.message)

/** The file that the pieces stand for. */
function assemble(disk: Parameters<typeof encodeEmptyDisk>[0]): Buffer {
  const { fileBytes, pieces } = encodeEmptyDisk(disk)
  const file = Buffer.alloc(fileBytes)
  for (const { offset, bytes } of pieces) bytes.copy(file, offset)
  return file
}

test('a header written by qemu-img is read as qemu-img reads it', () =>
  withHome(async (home) => {
    const base = await home.path('images', 'a')
    const path = await home.path('vms', 'a')
    for (const options of [
      'cluster_size=65536',
      'cluster_size=4096,refcount_bits=64',
      'cluster_size=2M,lazy_refcounts=on',
    ]) {
      await qemuImg('create', '-q', '-f', 'qcow2', '-o', options, base, '300M')
      await qemuImg(
        'create',
        '-q',
        '-f',
        'qcow2',
        '-o',
        options,
        '-b',
        '../../images/a/disk0.qcow2',
        '-F',
        'qcow2',
        path,
      )
      const info = JSON.parse(await qemuImg('info', '--output', 'json', path))
      const file = await readFile(path)
      const header = decodeHeader(file.subarray(0, limits.diskHeaderBytes), file.length)
      assert.equal(header.virtualBytes, info['virtual-size'])
      assert.equal(header.clusterBytes, info['cluster-size'])
      assert.equal(header.refcountBits, info['format-specific'].data['refcount-bits'])
      assert.deepEqual(header.backing, { name: info['backing-filename'], format: info['backing-filename-format'] })
      assert.deepEqual(header.identity, {})
      assert.equal(header.isDirty, false)
      assert.equal(header.isCorrupt, false)
    }
  }))

test('an empty disk as encoded here satisfies qemu-img, up to the largest', () =>
  withHome(async (home) => {
    const path = await home.path('vms', 'a')
    for (const virtualBytes of [512, 10 * 2 ** 20 + 512, 5 * 2 ** 40, limits.diskMaxBytes]) {
      const file = assemble({ virtualBytes })
      assert.equal(decodeHeader(file, file.length).virtualBytes, virtualBytes)
      await writeFile(path, file)
      const info = JSON.parse(await qemuImg('info', '--output', 'json', path))
      assert.equal(info['virtual-size'], virtualBytes)
      const check = JSON.parse(await qemuImg('check', '--output', 'json', path))
      assert.equal(check['check-errors'] + (check.leaks ?? 0) + (check.corruptions ?? 0), 0)
    }
    for (const virtualBytes of [0, 513, limits.diskMaxBytes + 512])
      assert.throws(() => assemble({ virtualBytes }), invalid(/cannot be made/))
  }))

test('another identity and backing name leave the rest of a header as it is, and QEMU keeps them', () =>
  withHome(async (home) => {
    const base = await home.path('images', 'a')
    const path = await home.path('vms', 'a')
    await qemuImg('create', '-q', '-f', 'qcow2', base, '10M')
    await qemuImg('create', '-q', '-f', 'qcow2', '-b', '../../images/a/disk0.qcow2', '-F', 'qcow2', path)
    const file = await readFile(path)
    const before = decodeHeader(file, file.length)
    const identity = { own: 'base-000000000001', base: 'base-000000000002' }
    const name = 'a/much/longer/name/than/the/one/before.qcow2'
    rewriteHeader(file, before, { identity, backing: { name, format: 'qcow2' } }).copy(file)
    const after = decodeHeader(file, file.length)
    assert.deepEqual(after, { ...before, identity, backing: { name, format: 'qcow2' }, extensions: after.extensions })
    assert.deepEqual(after.extensions.slice(0, -1), before.extensions)

    rewriteHeader(file, after, { backing: { name: '../../images/a/disk0.qcow2', format: 'qcow2' } }).copy(file)
    await writeFile(path, file)
    await qemuImg('check', '-q', path)
    await qemuImg('rebase', '-u', '-f', 'qcow2', '-b', base, '-F', 'qcow2', path)
    const rebased = await readFile(path)
    assert.deepEqual(decodeHeader(rebased, rebased.length).identity, identity)
    assert.equal(decodeHeader(rebased, rebased.length).backing?.name, base)
  }))

test('what cannot be read is refused with its reason', () =>
  withHome(async (home) => {
    const good = assemble({ virtualBytes: 2 ** 30, backing: { name: 'b', format: 'qcow2' } })
    const changed = (change: (file: Buffer) => void, fileBytes = good.length) => {
      const file = Buffer.from(good)
      change(file)
      return () => decodeHeader(file.subarray(0, fileBytes), fileBytes)
    }
    const features = (bit: number) => (file: Buffer) =>
      file.writeBigUInt64BE(1n << BigInt(bit), field.incompatibleFeatures)
    assert.equal(changed(features(incompatible.dirty))().isDirty, true)
    assert.equal(changed(features(incompatible.corrupt))().isCorrupt, true)
    assert.throws(changed(features(incompatible.externalData)), invalid(/another file/))
    assert.throws(changed(features(incompatible.extendedL2)), invalid(/subclusters/))
    assert.throws(changed(features(40)), invalid(/not known here/))
    assert.throws(
      changed((file) => file.fill(0, 0, 4)),
      invalid(/not a qcow2/),
    )
    assert.throws(
      changed((file) => file.writeUInt32BE(2, field.version)),
      invalid(/version 2/),
    )
    assert.throws(
      changed((file) => file.writeUInt32BE(1, field.cryptMethod)),
      invalid(/encrypted/),
    )
    assert.throws(
      changed((file) => file.writeUInt32BE(30, field.clusterBits)),
      invalid(/cluster size/),
    )
    assert.throws(
      changed((file) => file.writeUInt32BE(0, field.l1Count)),
      invalid(/too small/),
    )
    assert.throws(
      changed((file) => file.writeUInt32BE(2 ** 31, field.l1Count)),
      invalid(/too large/),
    )
    assert.throws(
      changed((file) => file.writeBigUInt64BE(2n ** 60n, field.backingOffset)),
      invalid(/out of bounds/),
    )
    assert.throws(
      changed((file) => file.writeUInt32BE(60_000, field.backingBytes)),
      invalid(/outside its header/),
    )
    assert.throws(
      changed((file) => file.writeUInt32BE(2 ** 31, 116)),
      invalid(/longer than the header/),
    )
    assert.throws(
      changed(() => {}, 70_000),
      invalid(/out of bounds|cut short/),
    )
    assert.throws(
      changed(() => {}, 50),
      invalid(/not a qcow2/),
    )

    const path = await home.path('vms', 'a')
    await qemuImg('create', '-q', '-f', 'qcow2', path, '1G')
    await truncate(path, 150_000)
    const cut = await readFile(path)
    assert.throws(() => decodeHeader(cut, cut.length), invalid(/out of bounds|cut short/))
  }))
