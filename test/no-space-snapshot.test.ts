import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { promisify } from 'node:util'
import { RametApiError, type Vm } from '../src/client/index.ts'
import { isRoot } from './support/environment.ts'
import { checkpointFaults, snapshotFaults } from './support/fault-points.ts'
import { fill } from './support/full-disk.ts'
import { Host } from './support/host.ts'
import { assertInOrder } from './support/order.ts'

const MiB = 1024 * 1024
const settleMs = 60_000
const run = promisify(execFile)

describe('a host that is full and a snapshot', {
  skip: isRoot ? false : 'only root mounts a small file system',
}, () => {
  let mount = ''
  let filler = ''
  let host: Host
  let vm: Vm

  const sums = async () => (await vm.commands.run('md5sum < /dev/vda; md5sum < /tmp/ballast')).stdout

  before(async () => {
    mount = await mkdtemp(join(tmpdir(), 'ramet-small-'))
    await run('mount', ['-t', 'tmpfs', '-o', 'size=720m,mode=711', 'tmpfs', mount])
    filler = join(mount, 'filler')
    await mkdir(join(mount, 'host'))
    host = await Host.start({ parentDir: join(mount, 'host') })
    vm = await host.boot({ name: 'web', disks: [{ sizeBytes: 16 * MiB }] })
    const random = 'dd if=/dev/urandom bs=1M count=4 2>/dev/null'
    await vm.commands.run(`${random} of=/dev/vda; ${random} > /tmp/ballast; sync`)
  })
  after(async () => {
    await rm(filler, { force: true })
    await host.close()
    await run('umount', [mount])
    await rm(mount, { recursive: true, force: true })
  })

  /** Whatever was refused: the vm runs on with all that it had, and nothing of a snapshot is left. */
  async function refused(making: Promise<unknown>, expected: string, when: string): Promise<RametApiError> {
    const error: unknown = await making.then(
      () => undefined,
      (thrown: unknown) => thrown,
    )
    assert.ok(error instanceof RametApiError && error.code === 'NO_SPACE', `${when}: ${String(error)}`)
    assert.match(error.remediation, /[Ff]ree space/, when)
    assert.deepEqual(await host.ramet.snapshots.list(), [], when)
    assert.equal((await vm.refresh()).state, 'running', when)
    assert.equal(await sums(), expected, when)
    await assertInOrder(host, when)
    return error
  }

  it('is refused with what it needs: for anything, for the copy of the disk, for the memory', async () => {
    const expected = await sums()
    for (const leaveBytes of [0, 518 * MiB, 540 * MiB]) {
      await fill(filler, leaveBytes)
      const error = await refused(vm.snapshot({ name: 'big' }), expected, `${leaveBytes} bytes left`)
      assert.ok(Number(error.details.neededBytes) > 0, 'it says how much it needs')
    }
    await rm(filler)
  })

  it('at any step leaves nothing, and the vm runs on', async () => {
    const points = [...snapshotFaults, ...checkpointFaults]
    await host.restart(points.map((point) => `${point}=ENOSPC`).join(','))
    const expected = await sums()
    for (const point of points) await refused(vm.snapshot({ name: 'doomed' }), expected, point)
  })

  it('in the middle of the memory leaves nothing, says what it takes, and succeeds when there is room', async () => {
    await host.restart('checkpoint.block=stop@8')
    const expected = await sums()
    const making = refused(vm.snapshot({ name: 'doomed' }), expected, 'in the middle')
    await host.daemon.whileStoppedAt('checkpoint.block', settleMs, () => fill(filler, 0))
    const error = await making
    assert.match(error.message, /no space left for snapshot doomed, which takes .* at most/)
    assert.ok(Number(error.details.neededBytes) > 64 * MiB)
    await rm(filler)
    const snapshot = await vm.snapshot({ name: 'fits' })
    assert.equal(snapshot.state, 'ready')
    await snapshot.remove()
  })
})
