import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, statfs, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { promisify } from 'node:util'
import { ForkError, type Vm } from '../src/client/index.ts'
import { count, startCounter } from './support/counter.ts'
import { isRoot } from './support/environment.ts'
import { finishedTemplateFaults, forkFaults, undoneTemplateFaults } from './support/fault-points.ts'
import { withHost } from './support/host.ts'
import { assertInOrder } from './support/order.ts'

const MiB = 1024 * 1024
const run = promisify(execFile)
/** Each point fails once, so that the next attempt gets as far as the next point. */
const inTurn = (points: readonly string[]) => points.map((point) => `${point}=ENOSPC`).join(',')

describe('a disk that is full', () => {
  it('at any step of a fork fails that child alone, and leaves nothing of it', async () => {
    await withHost({}, async (host) => {
      const template = await host.template('base', startCounter, { armed: 0 })
      await host.restart(inTurn(forkFaults))
      for (const point of forkFaults) {
        const [child] = await template.fork({ names: ['child'] })
        assert.ok(child instanceof ForkError, `the fault at ${point} was reached`)
        assert.equal(child.code, 'NO_SPACE', `${point}: ${child.message}`)
        await assertInOrder(host, point)
        assert.deepEqual(
          (await host.ramet.vms.list()).map(({ name, info }) => [name, info.state, info.failure]),
          [],
          point,
        )
      }
      const [child] = await template.forkAll({ names: ['child'] })
      assert.ok(child)
      assert.equal(await count(child), '1 x')
    })
  })

  it('at any step of making a template leaves the vm and its disk whole', async () => {
    await withHost({}, async (host) => {
      const vm = await host.boot({ name: 'parent', disks: [{ sizeBytes: 16 * MiB }, { sizeBytes: 16 * MiB }] })
      for (const disk of ['vda', 'vdb']) await vm.commands.run(`echo on-${disk} | dd of=/dev/${disk} 2>/dev/null; sync`)
      const points = [...undoneTemplateFaults, ...finishedTemplateFaults.filter((point) => point !== 'template.ready')]
      await host.restart(inTurn(points))
      for (const point of points) {
        await assert.rejects(
          host.ramet.templates.create({ from: 'vm', vm: 'parent', name: 'made', armed: 0 }),
          { code: 'NO_SPACE' },
          point,
        )
        await assertInOrder(host, point)
        assert.deepEqual(await host.ramet.templates.list(), [], point)
        if ((await vm.refresh()).state === 'stopped') await vm.start()
        for (const disk of ['vda', 'vdb']) {
          assert.equal((await vm.commands.run(`head -c 6 /dev/${disk}`)).stdout, `on-${disk}`, point)
        }
      }
      const { template } = await host.ramet.templates.create({ from: 'vm', vm: 'parent', name: 'made' })
      await template.forkAll({ names: ['child'] })
    })
  })

  it('really full, refuses each operation and goes on once there is room', async (t) => {
    if (!isRoot) return t.skip('only root mounts a small file system')
    const mount = await mkdtemp(join(tmpdir(), 'ramet-small-'))
    await run('mount', ['-t', 'tmpfs', '-o', 'size=700m,mode=711', 'tmpfs', mount])
    try {
      const parentDir = join(mount, 'host')
      await mkdir(parentDir)
      await withHost({ parentDir }, async (host) => {
        const vm = await host.boot({ name: 'parent', disks: [{ sizeBytes: 16 * MiB }] })
        const other: Vm = await host.boot({ name: 'other' })
        const filler = join(mount, 'filler')
        await fill(filler, 64 * 1024)
        await assert.rejects(host.ramet.templates.create({ from: 'vm', vm: 'parent', name: 'made' }), {
          code: 'NO_SPACE',
        })
        const created = await host.cli(['template', 'create', 'made', '--from', 'parent'])
        assert.equal(created.code, 5, created.stderr)
        assert.equal((await vm.refresh()).state, 'running')
        assert.equal((await other.commands.run('echo still here')).stdout, 'still here\n')
        await rm(filler)
        const { template } = await host.ramet.templates.create({ from: 'vm', vm: 'parent', name: 'made', armed: 0 })
        await fill(filler, 0)
        const [child] = await template.fork({ names: ['child'] }).catch((error: unknown) => [error])
        assert.ok(child instanceof Error && 'code' in child)
        assert.equal(child.code, 'NO_SPACE')
        await rm(filler)
        await assertInOrder(host, 'with room again')
        await template.forkAll({ names: ['child'] })
      })
    } finally {
      await run('umount', [mount])
      await rm(mount, { recursive: true, force: true })
    }
  })
})

/** Takes all room but some bytes. */
async function fill(path: string, leaveBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(join(path, '..'))
  const chunk = Buffer.alloc(MiB)
  await writeFile(path, '')
  for (let left = bavail * bsize - leaveBytes; left > 0; left -= chunk.length) {
    await writeFile(path, chunk.subarray(0, Math.min(chunk.length, left)), { flag: 'a' }).catch(() => {})
  }
}
