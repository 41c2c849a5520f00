import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { Vm } from '../src/client/index.ts'
import { checkpointFaults, finishedSnapshotFaults, snapshotFaults } from './support/fault-points.ts'
import { Host } from './support/host.ts'
import { assertInOrder } from './support/order.ts'
import { assertInMemory, contentOf, diskDigest } from './support/snapshot-content.ts'

const MiB = 1024 * 1024

describe('a daemon killed while it makes a snapshot', () => {
  let host: Host
  let vm: Vm

  const sums = async () => (await vm.commands.run('md5sum < /dev/vda; md5sum < /tmp/ballast')).stdout

  before(async () => {
    host = await Host.start()
    vm = await host.boot({ name: 'web', disks: [{ sizeBytes: 16 * MiB }] })
  })
  after(() => host.close())

  async function crashAt(point: string, round: number): Promise<string> {
    await host.restart(`${point}=kill`)
    const fill = 'dd if=/dev/urandom bs=1M count=1 2>/dev/null'
    await vm.commands.run(`${fill} > /tmp/ballast; ${fill} of=/dev/vda seek=${round}; sync`)
    const expected = await sums()
    const making = vm.snapshot({ name: 'doomed' }).catch((error: unknown) => error)
    assert.deepEqual(await host.daemon.ended, { code: null, signal: 'SIGKILL' }, `the fault at ${point} was reached`)
    await host.restart()
    await making
    await assertInOrder(host, point)
    assert.equal((await vm.refresh()).state, 'running')
    assert.equal(await sums(), expected, 'the vm has all that it had')
    return expected
  }

  for (const [round, point] of [...snapshotFaults, ...checkpointFaults].entries()) {
    it(`at ${point} leaves the vm as it was, running, and no snapshot`, async () => {
      await crashAt(point, round)
      assert.deepEqual(await host.ramet.snapshots.list(), [])
    })
  }

  for (const point of finishedSnapshotFaults) {
    it(`at ${point} leaves the snapshot, whole`, async () => {
      const [diskSum = ''] = (await crashAt(point, 10)).split(' ')
      const snapshot = await host.ramet.snapshots.get('doomed')
      assert.equal(snapshot.state, 'ready')
      assert.equal(await diskDigest(host, snapshot), diskSum)
      await assertInMemory(host, snapshot, await contentOf(vm, '/tmp/ballast'), point)
      await snapshot.remove()
      await assertInOrder(host, `${point}, removed`)
    })
  }

  it('does not keep the next daemon from making one', async () => {
    const snapshot = await vm.snapshot({ name: 'doomed' })
    assert.equal(snapshot.state, 'ready')
    await snapshot.remove()
  })
})
