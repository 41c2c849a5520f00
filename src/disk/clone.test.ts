import assert from 'node:assert/strict'
import { mkdir, readdir, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { isRametError } from '../shared/errors.ts'
import { armFaults } from '../shared/fault.ts'
import { limits } from '../shared/limits.ts'
import { openChain } from './chain.ts'
import { cloneDisk } from './clone.ts'
import { createWhole } from './files.ts'
import { requireSpace } from './space.ts'
import { deltaOver, qemuImg, qemuIo, readAlike, sealedImage, withHome } from './test-disks.ts'

test('a copy of a delta stands on the same base, keeps holes, and leaves the original alone', () =>
  withHome(async (home) => {
    const base = await sealedImage(home)
    const from = await deltaOver(home, base)
    await qemuIo(from, ['write -P 7 0 2M', 'write -z -u 8M 1M', 'write -P 8 40M 5M', 'discard 41M 1M'])
    const to = await home.path('vms', 'vm-b')
    const progress: number[] = []
    // whatever the file system of the test can do, both ways must come to the same
    const result = await cloneDisk({
      from,
      to,
      reflink: true,
      onProgress: (done, total) => progress.push(done / total),
    })
    if (result.method === 'copy') assert.equal(progress.at(-1), 1)
    assert.ok(await readAlike(from, to))
    await qemuImg('check', '-q', to)
    assert.equal((await openChain(to, home.roots)).layers.length, 2)
    assert.ok((await stat(to)).blocks <= (await stat(from)).blocks + 64)
    await qemuIo(to, ['write -P 1 0 64k'])
    await qemuIo(from, ['read -P 7 0 2M'])
    assert.deepEqual(await readdir(dirname(to)), ['disk0.qcow2'])
  }))

test('an aborted copy leaves nothing, and says what the signal says', () =>
  withHome(async (home) => {
    const from = await deltaOver(home, await sealedImage(home))
    await qemuIo(from, ['write -P 7 0 20M'])
    const to = await home.path('vms', 'vm-b')
    const controller = new AbortController()
    const reason = new Error('enough')
    const copying = cloneDisk({
      from,
      to,
      reflink: false,
      signal: controller.signal,
      onProgress: () => controller.abort(reason),
    })
    await assert.rejects(copying, reason)
    await assert.rejects(cloneDisk({ from, to, reflink: false, signal: controller.signal }), reason)
    assert.deepEqual(await readdir(dirname(to)), [])
  }))

test('a disk that becomes full in the middle of a copy is told as one, and the next copy succeeds', () =>
  withHome(async (home) => {
    const from = await deltaOver(home, await sealedImage(home))
    await qemuIo(from, ['write -P 7 0 20M'])
    const to = await home.path('vms', 'vm-b')
    const progress: number[] = []
    const copy = () => cloneDisk({ from, to, reflink: false, onProgress: (done) => progress.push(done) })
    for (const errno of ['ENOSPC', 'EDQUOT']) {
      progress.length = 0
      armFaults(`disk.copy=${errno}@3`)
      await assert.rejects(copy(), (error) => isRametError(error, 'NO_SPACE') && error.details.path === to)
      assert.equal(progress.length, 2, 'two parts had been copied')
      assert.deepEqual(await readdir(dirname(to)), [])
    }
    await copy()
    assert.ok(await readAlike(from, to))
  }))

test('a full disk is told as one, and leaves nothing', () =>
  withHome(async (home) => {
    const path = join(home.directory, 'full')
    for (const code of ['ENOSPC', 'EDQUOT'])
      await assert.rejects(
        createWhole(path, {}, async (handle) => {
          await handle.write('half')
          throw Object.assign(new Error('write failed'), { code })
        }),
        (error) => isRametError(error, 'NO_SPACE') && error.details.path === path,
      )
    assert.deepEqual(await readdir(home.directory), [])
    await requireSpace(home.directory, 0, 'nothing')
    await assert.rejects(
      requireSpace(home.directory, 2 ** 60, 'a giant'),
      (error) =>
        isRametError(error, 'NO_SPACE') && error.message.includes('a giant') && error.details.neededBytes === 2 ** 60,
    )
    assert.ok(limits.diskReserveBytes > 0)
  }))

test('a directory is not copied as a disk', () =>
  withHome(async (home) => {
    const from = join(home.directory, 'd')
    await mkdir(from)
    await assert.rejects(cloneDisk({ from, to: join(home.directory, 'e'), reflink: false }), (error) =>
      isRametError(error, 'IMAGE_INVALID'),
    )
  }))
