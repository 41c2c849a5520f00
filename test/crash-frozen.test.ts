import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, it } from 'node:test'
import type { Vm } from '../src/client/index.ts'
import { frozenFaults } from './support/fault-points.ts'
import { Host } from './support/host.ts'
import { namesIn } from './support/leaks.ts'
import { assertInOrder } from './support/order.ts'
import { buildSums, type Sums } from './support/sums.ts'

const MiB = 1024 * 1024

describe('a daemon killed while a vm lends its disk delta', () => {
  let host: Host
  let parent: Vm
  let sums: Sums

  const sum = (vm: Vm) => sums(vm, '/dev/vda')
  const lent = () => namesIn(`${host.dataDir}/deltas`)
  const atRest = () => host.until('no delta is lent', () => Promise.resolve(lent().length === 0))

  /** A fault at the end of a fork finds a child that was finished, and it is kept. */
  const removeChild = async () => {
    for (const vm of await host.ramet.vms.list()) if (vm.name === 'child') await vm.remove({ force: true })
    await atRest()
  }

  before(async () => {
    sums = await buildSums()
    host = await Host.start()
    parent = await host.boot({ name: 'parent', disks: [{ sizeBytes: 64 * MiB }] })
    // More than a fork copies byte by byte.
    await parent.commands.run('dd if=/dev/urandom of=/dev/vda bs=1M count=36 2>/dev/null; sync')
  })
  beforeEach(removeChild)
  after(() => host.close())

  for (const [index, point] of frozenFaults.entries()) {
    it(`at ${point} leaves each vm with its data exact, and at last no delta lent`, async () => {
      await host.restart(`${point}=kill`)
      await parent.commands.run(`dd if=/dev/urandom of=/dev/vda bs=1M seek=${40 + index} count=1 2>/dev/null; sync`)
      const expected = await sum(parent)
      const fork = parent.fork({ names: ['child'] }).catch((error: unknown) => error)
      assert.deepEqual(await host.daemon.endsWithin(60_000), { code: null, signal: 'SIGKILL' })
      await host.restart()
      await fork
      assert.equal(await sum(parent), expected)
      await atRest()
      assert.equal(await sum(parent), expected)
      // From the collapse on the child was finished, and is kept.
      const child = (await host.ramet.vms.list()).find((vm) => vm.name === 'child')
      assert.equal(child !== undefined, index >= frozenFaults.indexOf('collapse.begun'))
      if (child !== undefined) assert.equal(await sum(child), expected)
      await removeChild()
      await assertInOrder(host, point)
    })
  }

  for (const capture of ['copy', 'background'] as const) {
    it(`a delta that cannot be lent, its memory captured by ${capture}, leaves nothing of that memory`, async () => {
      await host.restart('delta.recorded=ENOSPC')
      const expected = await sum(parent)
      await assert.rejects(parent.forkAll({ names: ['child'], capture }), { code: 'NO_SPACE' })
      await atRest()
      await assertInOrder(host, capture)
      assert.equal(await sum(parent), expected)
    })
  }
})
