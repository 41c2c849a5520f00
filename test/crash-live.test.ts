import assert from 'node:assert/strict'
import process from 'node:process'
import { after, before, describe, it } from 'node:test'
import type { Vm } from '../src/client/index.ts'
import { backgroundFaults, liveFaults } from './support/fault-points.ts'
import { Host } from './support/host.ts'
import { assertInOrder } from './support/order.ts'
import { buildSums, type Sums } from './support/sums.ts'

describe('a daemon killed in the middle of a fork of a running vm', () => {
  let host: Host
  let parent: Vm
  let sumsOf: Sums

  const diskSum = (vm: Vm) => sumsOf(vm, '/dev/vda')
  const sums = (vm: Vm) => sumsOf(vm, '/tmp/ballast', '/dev/vda')

  before(async () => {
    sumsOf = await buildSums()
    host = await Host.start()
    parent = await host.boot({ name: 'parent', disks: [{ sizeBytes: 32 * 1024 * 1024 }] })
  })
  after(() => host.close())

  const steps = [
    ...liveFaults.map((point) => ({ point, capture: 'copy' as const })),
    ...backgroundFaults.map((point) => ({ point, capture: 'background' as const })),
  ]
  for (const [index, { point, capture }] of steps.entries()) {
    it(`at ${point} leaves the parent running with its data exact, and no half child`, async () => {
      // Each daemon is given one fault; recovery runs in another, which may pass the same points unharmed.
      await host.restart(`${point}=kill`)
      const fill = 'dd if=/dev/urandom bs=1M count=4 2>/dev/null'
      await parent.commands.run(`${fill} > /tmp/ballast; ${fill} of=/dev/vda seek=${index}; sync`)
      const expected = await sums(parent)
      const fork = parent.fork({ names: ['doomed'], capture }).catch((error: unknown) => error)
      assert.deepEqual(await host.daemon.ended, { code: null, signal: 'SIGKILL' }, `the fault at ${point} was reached`)
      await host.restart()
      await fork
      // A fault at the end of a fork finds a child that was finished, and it is kept.
      for (const vm of await host.ramet.vms.list()) if (vm.name === 'doomed') await vm.remove({ force: true })
      await assertInOrder(host, point)
      assert.equal((await parent.refresh()).state, 'running')
      assert.equal(await sums(parent), expected)
    })
  }

  it('does not keep the next daemon from forking', async () => {
    const expected = await sums(parent)
    const [child] = await parent.forkAll({ names: ['child'] })
    assert.ok(child)
    assert.equal(await sums(child), expected)
    await child.remove({ force: true })
  })

  it('nor does the death of the parent’s QEMU between freeze and merge lose what it wrote', async () => {
    await host.restart('disk-point.merging=kill')
    const expected = await diskSum(parent)
    await parent.refresh()
    const fork = parent.fork({ names: ['doomed'] }).catch((error: unknown) => error)
    await host.daemon.ended
    const { pid } = parent.info
    assert.ok(pid !== undefined)
    process.kill(pid, 'SIGKILL')
    await host.restart()
    await fork
    for (const vm of await host.ramet.vms.list()) if (vm.name === 'doomed') await vm.remove({ force: true })
    await parent.start()
    assert.equal(await diskSum(parent), expected)
  })
})
