import assert from 'node:assert/strict'
import { chmod, copyFile, rm, symlink, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { type ErrorCode, isRametError } from '../shared/errors.ts'
import { newId } from '../shared/ids.ts'
import { limits } from '../shared/limits.ts'
import { openChain } from './chain.ts'
import { createDisk } from './create.ts'
import { readLayer } from './layer.ts'
import { sealDelta } from './seal.ts'
import { deltaOver, qemuImg, qemuIo, sealedImage, withHome } from './test-disks.ts'
import { diskUsage, privateDiskBytes } from './usage.ts'

const fails = (code: ErrorCode, pattern: RegExp) => (error: unknown) =>
  isRametError(error, code) && pattern.test(error.message)

test('a chain is followed to its end, with what is private and what is shared', () =>
  withHome(async (home) => {
    const base = await sealedImage(home)
    const path = await deltaOver(home, base)
    await qemuIo(path, ['write -P 1 0 1M'])
    const chain = await openChain(path, home.roots)
    assert.deepEqual(
      chain.layers.map((layer) => layer.path),
      [path, base.path],
    )
    const usage = diskUsage(chain)
    assert.equal(usage.depth, 2)
    assert.equal(usage.virtualBytes, 64 * 2 ** 20)
    assert.ok(usage.privateBytes >= 2 ** 20 && usage.privateBytes < 2 ** 20 + 512 * 1024)
    assert.ok(usage.sharedBytes >= 4 * 2 ** 20)
    assert.equal(await privateDiskBytes(path), usage.privateBytes)
  }))

test('a base that is missing, exchanged, writable or cut short is named', () =>
  withHome(async (home) => {
    const base = await sealedImage(home)
    const other = await sealedImage(home, 'img-b')
    const path = await deltaOver(home, base)

    await chmod(base.path, 0o644)
    await assert.rejects(openChain(path, home.roots), fails('BASE_DAMAGED', /can be written/))
    await rm(base.path)
    await copyFile(other.path, base.path)
    await chmod(base.path, 0o444)
    await assert.rejects(openChain(path, home.roots), fails('BASE_DAMAGED', /was made over/))
    await chmod(base.path, 0o644)
    await truncate(base.path, 1000)
    await chmod(base.path, 0o444)
    await assert.rejects(openChain(path, home.roots), fails('BASE_DAMAGED', /cut short|out of bounds/))
    await rm(base.path)
    await assert.rejects(openChain(path, home.roots), fails('BASE_DAMAGED', /img-a.*missing/))
    await symlink(other.path, base.path)
    await assert.rejects(openChain(path, home.roots), fails('BASE_DAMAGED', /symbolic link/))
  }))

test('a backing name that is anything but the plain path of a base is refused', () =>
  withHome(async (home) => {
    const base = await sealedImage(home)
    const path = await deltaOver(home, base)
    const plain = '../../images/img-a/disk0.qcow2'
    const names = [
      base.path,
      `./${plain}`,
      `nbd:x/../${plain}`,
      'json:{"driver":"null-co"}',
      '/etc/passwd',
      'other.qcow2',
      '',
    ]
    for (const name of names) {
      await qemuImg('rebase', '-u', '-f', 'qcow2', '-b', name, '-F', 'qcow2', path)
      if (name === '') continue
      await assert.rejects(openChain(path, home.roots), fails('IMAGE_INVALID', /not one/), name)
    }
    assert.equal((await openChain(path, home.roots)).layers.length, 1, 'an empty name means no base')
    await qemuImg('rebase', '-u', '-f', 'qcow2', '-b', plain, '-F', 'raw', path)
    await assert.rejects(openChain(path, home.roots), fails('IMAGE_INVALID', /does not say/))
    await qemuImg('rebase', '-u', '-f', 'qcow2', '-b', plain, '-F', 'qcow2', path)
    await openChain(path, home.roots)
    await assert.rejects(openChain(path, [join(home.directory, 'templates')]), fails('IMAGE_INVALID', /not one/))
  }))

test('a chain beyond the limit is refused', () =>
  withHome(async (home) => {
    let base = await sealedImage(home)
    for (let depth = 2; depth <= limits.diskChainCount + 1; depth += 1) {
      const path = await deltaOver(home, base, `vm-${depth}`)
      const check = openChain(path, home.roots)
      if (depth > limits.diskChainCount) await assert.rejects(check, fails('TOO_LARGE', /more than/))
      else assert.equal((await check).layers.length, depth)
      const sealed = await home.path('templates', `tpl-${depth}`)
      await sealDelta(path, sealed, newId('base'))
      base = await readLayer(sealed)
    }
  }))

test('what a disk stands on must not be larger than the disk', () =>
  withHome(async (home) => {
    const base = await sealedImage(home)
    const path = await home.path('vms', 'vm-a')
    await createDisk({ path, base })
    const small = await home.path('vms', 'vm-b')
    await qemuImg('create', '-q', '-f', 'qcow2', '-b', base.path, '-F', 'qcow2', small, '1M')
    await qemuImg('rebase', '-u', '-f', 'qcow2', '-b', '../../images/img-a/disk0.qcow2', '-F', 'qcow2', small)
    await assert.rejects(openChain(small, home.roots), fails('BASE_DAMAGED', /was made over/))
  }))
