import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { Vm } from '../src/client/index.ts'
import { count, startCounter } from './support/counter.ts'
import { finishedTemplateFaults, undoneTemplateFaults } from './support/fault-points.ts'
import { Host } from './support/host.ts'
import { assertInOrder } from './support/order.ts'

const MiB = 1024 * 1024

describe('a daemon killed while it makes a template', () => {
  let host: Host
  let parent: Vm | undefined
  let counted = 0

  before(async () => {
    host = await Host.start()
  })
  after(() => host.close())

  /** The vm of the test before if it is still there, else a new one. It has a disk, so that there is one to seal. */
  async function parentVm(): Promise<Vm> {
    if (parent !== undefined) return parent
    const vm = await host.boot({ name: 'parent', disks: [{ sizeBytes: 64 * MiB }] })
    await startCounter(vm)
    await vm.commands.run('echo on-disk | dd of=/dev/vda conv=notrunc 2>/dev/null; sync')
    parent = vm
    counted = 0
    return vm
  }

  async function crashAt(point: string): Promise<void> {
    const vm = await parentVm()
    assert.equal(await count(vm), `${++counted} x`)
    await host.restart(`${point}=kill`)
    const making = host.ramet.templates
      .create({ from: 'vm', vm: vm.id, name: 'made', armed: 0 })
      .catch((error: unknown) => error)
    assert.deepEqual(await host.daemon.ended, { code: null, signal: 'SIGKILL' }, `the fault at ${point} was reached`)
    await host.restart()
    await making
    await assertInOrder(host, point)
  }

  for (const point of undoneTemplateFaults) {
    it(`at ${point} leaves the vm as it was, running`, async () => {
      await crashAt(point)
      assert.deepEqual(await host.ramet.templates.list(), [])
      const vm = await host.ramet.vms.get('parent')
      assert.equal(vm.state, 'running')
      assert.equal(await count(vm), `${++counted} x`)
    })
  }

  for (const point of finishedTemplateFaults) {
    it(`at ${point} finishes the template in the next daemon`, async () => {
      await crashAt(point)
      assert.equal(await host.gone('parent'), true)
      parent = undefined
      const template = await host.ramet.templates.get('made')
      assert.equal(template.state, 'ready')
      const [child] = await template.forkAll({ names: ['child'] })
      assert.ok(child)
      assert.equal(await count(child), `${counted + 1} x`)
      assert.equal((await child.commands.run('head -c 7 /dev/vda')).stdout, 'on-disk')
      await child.remove()
      await template.remove()
      await assertInOrder(host, `${point}, removed`)
    })
  }
})
