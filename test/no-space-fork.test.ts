import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, open, rm, statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { promisify } from 'node:util'
import { ForkError, type Vm } from '../src/client/index.ts'
import { isRoot } from './support/environment.ts'
import { Host } from './support/host.ts'
import { assertInOrder } from './support/order.ts'

const MiB = 1024 * 1024
const run = promisify(execFile)

describe('a full disk and the fork of a running vm', {
  skip: isRoot ? false : 'only root mounts a small file system',
}, () => {
  let mount = ''
  let filler = ''
  let host: Host
  let parent: Vm

  /** The whole disk and what is only in memory. */
  const sums = async () => (await parent.commands.run('md5sum < /dev/vda; md5sum < /tmp/ballast')).stdout

  before(async () => {
    mount = await mkdtemp(join(tmpdir(), 'ramet-small-'))
    await run('mount', ['-t', 'tmpfs', '-o', 'size=700m,mode=711', 'tmpfs', mount])
    filler = join(mount, 'filler')
    await mkdir(join(mount, 'host'))
    host = await Host.start({ parentDir: join(mount, 'host') })
    parent = await host.boot({ name: 'parent', disks: [{ sizeBytes: 48 * MiB }] })
    await parent.commands.run('dd if=/dev/urandom of=/tmp/ballast bs=1M count=4 2>/dev/null')
    await parent.commands.run('dd if=/dev/urandom of=/dev/vda bs=1M count=24 2>/dev/null; sync')
  })
  after(async () => {
    await rm(filler, { force: true })
    await host.close()
    await run('umount', [mount])
    await rm(mount, { recursive: true, force: true })
  })

  /** Whatever was refused: the parent is as it was, and nothing of a child is left. */
  async function assertOnlyParent(expected: string, when: string): Promise<void> {
    assert.deepEqual(
      (await host.ramet.vms.list()).map(({ name, state }) => [name, state]),
      [['parent', 'running']],
      when,
    )
    assert.equal(await sums(), expected, when)
    await assertInOrder(host, when)
  }

  async function assertForks(expected: string): Promise<void> {
    const [child] = await parent.forkAll({ names: ['child'] })
    assert.ok(child)
    assert.equal((await child.commands.run('md5sum < /dev/vda; md5sum < /tmp/ballast')).stdout, expected)
    await child.remove({ force: true })
  }

  for (const [what, leaveBytes] of Object.entries({
    'there is room for records, but not for a copy of its disk': 530 * MiB,
    'there is room for nothing': 0,
  })) {
    it(`fails it cleanly when ${what}, and lets the next one succeed`, async () => {
      const expected = await sums()
      await fill(filler, leaveBytes)
      const [result] = await parent.fork({ names: ['child'] }).catch((error: unknown) => [error])
      assert.ok(result instanceof Error && 'code' in result && 'remediation' in result)
      assert.equal(result.code, 'NO_SPACE', result.message)
      assert.match(String(result.remediation), /[Ff]ree space/)
      await assertOnlyParent(expected, what)
      await rm(filler)
      await assertForks(expected)
    })
  }

  it('pauses the parent whose own write does not fit, and loses nothing of it', async () => {
    await fill(filler, 0)
    const program = 'dd if=/dev/urandom of=/dev/vda bs=1M seek=28 count=16 2>/dev/null; sync; echo $? > /tmp/done'
    const write = parent.commands.run(program)
    // Its connection does not survive the daemon's restart below; the program does.
    write.catch(() => {})
    await host.untilState(parent, 'paused')
    assert.match(String(parent.info.stateReason), /no space left.*ramet resume parent/)
    await assert.rejects(parent.fork({ names: ['child'] }), { code: 'ILLEGAL_STATE' })
    // The next daemon finds it as it is.
    await host.restart()
    assert.equal((await parent.refresh()).state, 'paused')
    assert.match(String(parent.info.stateReason), /no space left/)
    await rm(filler)
    await parent.resume()
    assert.equal(parent.info.stateReason, undefined)
    const { stdout } = await parent.commands.run('while [ ! -s /tmp/done ]; do sleep 0.1; done; cat /tmp/done')
    assert.equal(stdout, '0\n', 'the program in the guest has not noticed')
    await assertForks(await sums())
  })

  it('at any step of the capture fails it cleanly', async () => {
    const points = ['disk-point.created', 'live.frozen', 'live.paused', 'live.captured']
    // Each fails once, so that the next attempt gets as far as the next point.
    await host.restart(points.map((point) => `${point}=ENOSPC`).join(','))
    const expected = await sums()
    for (const point of points) {
      const [result] = await parent.fork({ names: ['child'] }).catch((error: unknown) => [error])
      assert.ok(result instanceof Error && !(result instanceof ForkError) && 'code' in result, point)
      assert.equal(result.code, 'NO_SPACE', `${point}: ${result.message}`)
      await assertOnlyParent(expected, point)
    }
    await assertForks(expected)
  })
})

/** Takes all room but some bytes. */
async function fill(path: string, leaveBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(dirname(path))
  const chunk = Buffer.alloc(MiB)
  const file = await open(path, 'w')
  try {
    for (let left = bavail * bsize - leaveBytes; left > 0; left -= chunk.length)
      await file.write(chunk, 0, Math.min(chunk.length, left))
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOSPC')) throw error
  } finally {
    await file.close()
  }
}
