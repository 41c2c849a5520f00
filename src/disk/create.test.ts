import assert from 'node:assert/strict'
import { readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { test } from 'node:test'
import { isRametError } from '../shared/errors.ts'
import { createDisk } from './create.ts'
import { readAllocation, readLayer } from './layer.ts'
import { deltaOver, qemuImg, qemuIo, readAlike, sealedImage, withHome } from './test-disks.ts'

test('an empty delta reads as its base, can be written, and takes next to nothing', () =>
  withHome(async (home) => {
    const base = await sealedImage(home)
    const path = await deltaOver(home, base)
    const { size, blocks, mode } = await stat(path)
    assert.equal(mode & 0o777, 0o600)
    assert.ok(blocks * 512 <= 32 * 1024 && size === 4 * 65536)
    assert.ok(await readAlike(path, base.path))
    await qemuImg('check', '-q', path)
    const layer = await readLayer(path)
    assert.deepEqual(layer.header.backing, { name: '../../images/img-a/disk0.qcow2', format: 'qcow2' })
    assert.equal(layer.header.identity.base, base.header.identity.own)

    await qemuIo(path, ['read -P 1 0 1M', 'write -P 9 512k 64k', 'read -P 1 0 512k', 'read -P 9 512k 64k'])
    await qemuImg('check', '-q', path)
    assert.equal((await readAllocation(path)).dataBytes, 65536)
    assert.equal((await readLayer(path)).header.identity.base, base.header.identity.own, 'QEMU kept the identity')
    assert.deepEqual(await readdir(dirname(path)), ['disk0.qcow2'])
  }))

test('a delta may be larger than its base, never smaller; a disk may be blank', () =>
  withHome(async (home) => {
    const base = await sealedImage(home)
    const path = await home.path('vms', 'vm-a')
    await createDisk({ path, base, virtualBytes: 128 * 2 ** 20 })
    await qemuIo(path, ['read -P 2 8M 3M', 'read -P 0 100M 1M'])
    await assert.rejects(createDisk({ path, base, virtualBytes: 2 ** 20 }), (error) =>
      isRametError(error, 'INVALID_ARGUMENT'),
    )
    await createDisk({ path, virtualBytes: 2 ** 30 })
    await qemuIo(path, ['read -P 0 0 1M', 'write -P 1 1000M 1M'])
    await assert.rejects(createDisk({ path, virtualBytes: 0 }), (error) => isRametError(error, 'IMAGE_INVALID'))
  }))

test('a link that a guest left under the temporary name is not followed', () =>
  withHome(async (home) => {
    const base = await sealedImage(home)
    const path = await home.path('vms', 'vm-a')
    const secret = await home.path('vms', 'secret')
    await writeFile(secret, 'untouched')
    await symlink(secret, `${path}.tmp`)
    await createDisk({ path, base })
    assert.equal(await readFile(secret, 'utf8'), 'untouched')
    await qemuImg('check', '-q', path)
  }))
