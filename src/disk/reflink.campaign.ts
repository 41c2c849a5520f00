import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, open, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { promisify } from 'node:util'
import { isRametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import { openChain } from './chain.ts'
import { cloneDisk } from './clone.ts'
import { createDisk } from './create.ts'
import { readLayer } from './layer.ts'
import { sealInPlace } from './seal.ts'
import { qemuImg, qemuIo, readAlike } from './test-disks.ts'

// Needs root, loop devices, xfsprogs and btrfs-progs: real file systems that share extents.

const run = promisify(execFile)
const deviceBytes = limits.diskReserveBytes + 700 * 2 ** 20

for (const [kind, ...makeArguments] of [
  ['xfs', '-q', '-m', 'reflink=1'],
  ['btrfs', '-q'],
] as const) {
  describe(`disks on ${kind}`, () => {
    let directory = ''
    let mountPoint = ''
    let disk = ''
    let roots: string[] = []

    before(async () => {
      directory = await mkdtemp(join(tmpdir(), 'ramet-reflink-'))
      const device = join(directory, 'device')
      const handle = await open(device, 'w')
      await handle.truncate(deviceBytes)
      await handle.close()
      await run(`mkfs.${kind}`, [...makeArguments, device])
      mountPoint = join(directory, 'mount')
      await mkdir(mountPoint)
      // the loop device goes with the mount
      await run('mount', ['-o', 'loop', device, mountPoint])
      for (const name of ['images/i', 'vms/a', 'vms/b']) await mkdir(join(mountPoint, name), { recursive: true })
      roots = [join(mountPoint, 'images')]
      const image = join(mountPoint, 'images/i/disk0.qcow2')
      await qemuImg('create', '-q', '-f', 'qcow2', image, '4G')
      await qemuIo(image, ['write -P 1 0 8M'])
      await sealInPlace(image, 'base-aaaaaaaaaaaa')
      disk = join(mountPoint, 'vms/a/disk0.qcow2')
      await createDisk({ path: disk, base: await readLayer(image) })
      await qemuIo(disk, ['write -P 7 1M 256M', 'flush'])
      await run('sync', ['-f', mountPoint])
    })

    after(async () => {
      if (mountPoint !== '') await run('umount', [mountPoint])
      await rm(directory, { recursive: true })
    })

    it('clones by sharing extents: at once, taking no space, and apart from then on', async (context) => {
      const to = join(mountPoint, 'vms/b/disk0.qcow2')
      const startMs = performance.now()
      const result = await cloneDisk({ from: disk, to, reflink: true })
      context.diagnostic(`256 MiB delta cloned in ${(performance.now() - startMs).toFixed(1)} ms, flush included`)
      assert.deepEqual(result, { method: 'reflink', copiedBytes: 0 })
      assert.equal((await stat(to)).mode & 0o777, 0o600)
      assert.ok(await readAlike(disk, to))
      await qemuIo(to, ['write -P 9 1M 1M'])
      await qemuIo(disk, ['read -P 7 1M 256M'])
      await qemuImg('check', '-q', to)
      assert.equal((await openChain(to, roots)).layers.length, 2)
    })

    it('refuses a copy that would eat into the reserve, and leaves nothing', async () => {
      const to = join(mountPoint, 'vms/b/disk1.qcow2')
      await qemuIo(disk, ['write -P 8 300M 400M', 'flush'])
      await run('sync', ['-f', mountPoint])
      await assert.rejects(cloneDisk({ from: disk, to, reflink: false }), (error) => isRametError(error, 'NO_SPACE'))
      for (const left of [to, `${to}.tmp`]) await assert.rejects(stat(left))
    })
  })
}
