import assert from 'node:assert/strict'
import { join } from 'node:path'
import process from 'node:process'
import { after, before, describe, it } from 'node:test'
import type { Vm } from '../src/client/index.ts'
import { processesIn } from '../src/host/processes-in.ts'
import { forkFaults, frozenFaults, liveFaults } from './support/fault-points.ts'
import { Host } from './support/host.ts'
import { namesIn } from './support/leaks.ts'
import { assertInOrder } from './support/order.ts'
import { buildSums, type Sums } from './support/sums.ts'

const MiB = 1024 * 1024
const settleMs = 60_000

/** Steps of a live fork at which its parent's QEMU is killed: all that concern the parent. */
const parentSteps = [...liveFaults, ...frozenFaults, 'fork.claimed', 'fork.loaded', 'fork.identity']

/** Steps at which there is a QEMU of the child. */
const childSteps = [...forkFaults.slice(forkFaults.indexOf('launch.connected')), 'collapse.begun', 'collapse.done']

describe('a QEMU killed in the middle of a fork of a running vm', () => {
  let host: Host
  let parent: Vm
  let sums: Sums

  const sum = (vm: Vm) => sums(vm, '/dev/vda')
  const vmNamed = async (name: string) => (await host.ramet.vms.list()).find((vm) => vm.name === name)
  const killQemusOf = (vmId: string) => {
    for (const { pid } of processesIn(join(host.dataDir, 'vms', vmId))) process.kill(pid, 'SIGKILL')
  }
  const vmIds = () => namesIn(join(host.dataDir, 'vms'))

  before(async () => {
    sums = await buildSums()
    host = await Host.start()
    parent = await host.boot({ name: 'parent', disks: [{ sizeBytes: 42 * MiB }] })
    // More than a fork copies byte by byte.
    await parent.commands.run('dd if=/dev/urandom of=/dev/vda bs=1M count=33 conv=fsync 2>/dev/null')
  })
  after(() => host.close())

  /** Forks, and kills a QEMU while the daemon stands at a step. */
  async function forkAndKill(point: string, victims: () => string[]): Promise<string> {
    await host.restart(`${point}=stop`)
    await parent.commands.run('dd if=/dev/urandom of=/dev/vda bs=1M seek=40 count=1 conv=fsync 2>/dev/null')
    const expected = await sum(parent)
    const fork = parent.fork({ names: ['child'] }).catch((error: unknown) => error)
    await host.daemon.whileStoppedAt(point, settleMs, () => victims().forEach(killQemusOf))
    await fork
    return expected
  }

  /** A child that is there is whole; then all is taken away but the parent. */
  async function settle(point: string, expected: string): Promise<void> {
    const child = await vmNamed('child')
    if (child?.state === 'running') assert.equal(await sum(child), expected)
    await child?.remove({ force: true })
    await host.until('no delta is lent', () => namesIn(join(host.dataDir, 'deltas')).length === 0)
    assert.equal(await sum(parent), expected)
    await assertInOrder(host, point)
  }

  for (const point of parentSteps) {
    it(`the parent’s at ${point}: it can be started again with its disk exact, and no half child is left`, async () => {
      const expected = await forkAndKill(point, () => [parent.id])
      await host.untilState(parent, 'failed', settleMs)
      await parent.start()
      await settle(point, expected)
    })
  }

  for (const point of childSteps) {
    it(`the child’s at ${point}: the parent runs on, and no half child is left`, async () => {
      const expected = await forkAndKill(point, () => vmIds().filter((id) => id !== parent.id))
      assert.equal((await parent.refresh()).state, 'running')
      const child = await vmNamed('child')
      // One that had come to its end is a vm that failed later.
      if (child !== undefined && child.info.startedAt !== undefined) await host.untilState(child, 'failed', settleMs)
      await settle(point, expected)
    })
  }
})
