import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { Template, Vm } from '../src/client/index.ts'
import { count, startCounter } from './support/counter.ts'
import {
  allFaultPoints,
  backgroundFaults,
  checkpointFaults,
  finishedResumeFaults,
  finishedSnapshotFaults,
  finishedSuspendFaults,
  finishedTemplateFaults,
  forkFaults,
  frozenFaults,
  fullHostFaults,
  idleFaults,
  importFaults,
  interruptedFaults,
  liveFaults,
  otherFaults,
  pageServerFaults,
  snapshotFaults,
  undoneGoBackFaults,
  undoneResumeFaults,
  undoneSuspendFaults,
  undoneTemplateFaults,
} from './support/fault-points.ts'

import { Host } from './support/host.ts'
import { assertInOrder } from './support/order.ts'

it('every fault point in the source is tried by a test', () => {
  const tried = [
    ...forkFaults,
    ...undoneTemplateFaults,
    ...finishedTemplateFaults,
    ...liveFaults,
    ...frozenFaults,
    ...backgroundFaults,
    ...fullHostFaults,
    ...checkpointFaults,
    ...pageServerFaults,
    ...snapshotFaults,
    ...finishedSnapshotFaults,
    ...idleFaults,
    ...undoneSuspendFaults,
    ...finishedSuspendFaults,
    ...undoneResumeFaults,
    ...finishedResumeFaults,
    ...undoneGoBackFaults,
    ...interruptedFaults,
    ...importFaults,
    ...otherFaults,
  ]
  assert.deepEqual(allFaultPoints(), [...tried].sort())
})

describe('a daemon killed in the middle of a fork', () => {
  let host: Host
  let template: Template
  let witness: Vm
  let counted = 1

  before(async () => {
    host = await Host.start()
    template = await host.template('base', startCounter, { armed: 0 })
    const [first] = await template.forkAll({ names: ['witness'] })
    assert.ok(first)
    witness = first
    assert.equal(await count(witness), '1 x')
  })
  after(() => host.close())

  for (const [index, point] of forkFaults.entries()) {
    it(`at ${point} leaves nothing half-made, and what ran runs on`, async () => {
      // The first fork of each daemon shows that forks work after the recovery before it; the second one dies.
      if (index === 0) await host.restart(`${point}=kill@2`)
      const [good] = await template.forkAll({ names: ['good'] })
      assert.ok(good)
      assert.equal(await count(good), '1 x')
      await good.remove()
      const fork = template.fork({ names: ['doomed'] }).then(
        ([child]) => child,
        (error: unknown) => error,
      )
      assert.deepEqual(await host.daemon.ended, { code: null, signal: 'SIGKILL' }, `the fault at ${point} was reached`)
      const next = forkFaults[index + 1]
      await host.restart(next === undefined ? undefined : `${next}=kill@2`)
      const outcome = await fork
      await assertInOrder(host, point)
      counted += 1
      assert.equal(await count(witness), `${counted} x`, 'the other vm ran on')
      const doomed = (await host.ramet.vms.list()).find((vm) => vm.name === 'doomed')
      if (point === 'fork.recorded') {
        assert.equal(doomed?.state, 'running', `what was finished is kept: ${String(outcome)}`)
        assert.equal(await count(doomed), '1 x')
        await doomed.remove()
      } else {
        assert.equal(doomed, undefined, 'what was not finished is undone')
        assert.ok(outcome instanceof Error, 'and the caller is told so')
      }
    })
  }

  it('at the removal of a child removes it in the next daemon', async () => {
    const [child] = await template.forkAll({ names: ['leaving'] })
    assert.ok(child)
    await host.restart('remove.directory=kill')
    const removal = child.remove().catch((error: unknown) => error)
    await host.daemon.ended
    await host.restart()
    await removal
    await host.untilGone('leaving')
    await assertInOrder(host, 'remove.directory')
  })

  it('between calls is not noticed by the vms', async () => {
    await host.kill9()
    await host.restart()
    counted += 1
    assert.equal(await count(witness), `${counted} x`)
    const [child] = await template.forkAll({ names: ['afterwards'] })
    assert.ok(child)
    assert.equal(await count(child), '1 x')
    await child.remove()
  })
})

describe('a daemon killed while a vm boots', () => {
  it('removes it if it was being created, and leaves it stopped if it was there before', async () => {
    const host = await Host.start({ fault: 'boot.recorded=kill' })
    try {
      const creation = host.boot({ name: 'created' }).catch((error: unknown) => error)
      await host.daemon.ended
      await host.restart('boot.recorded=kill@2')
      assert.ok((await creation) instanceof Error, 'the caller is told so')
      assert.deepEqual(await host.ramet.vms.list(), [])
      await assertInOrder(host, 'boot.recorded while creating')
      const vm = await host.boot({ name: 'booting' })
      await vm.stop()
      const start = vm.start().catch((error: unknown) => error)
      await host.daemon.ended
      await host.restart()
      await start
      assert.equal((await vm.refresh()).state, 'stopped')
      await assertInOrder(host, 'boot.recorded')
      await vm.start()
      assert.equal((await vm.commands.run('hostname')).stdout.trim(), 'booting')
    } finally {
      await host.close()
    }
  })
})
