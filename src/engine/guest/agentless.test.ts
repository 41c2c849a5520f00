import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isRametError } from '../../shared/errors.ts'
import { TestEngine } from '../testing/test-engine.ts'

const refused = (error: unknown) => {
  assert.ok(isRametError(error, 'GUEST_UNREACHABLE'), String(error))
  assert.match(error.remediation, /ramet stop --force web/)
  return true
}

test('nothing is asked of a vm that believes to be another, and its links stay down, until it boots anew', async () => {
  await using engine = await TestEngine.open()
  const { id } = await engine.createVm({ name: 'web' })
  const vm = await engine.context.vms.update(id, { identity: 'none' })
  const calls = engine.vmm.of(id).calls.length
  assert.throws(() => engine.parts.runtimes.reachable(vm, 'run a command in'), refused)
  await assert.rejects(async () => engine.parts.runtimes.session(vm, 'read a file of'), refused)
  await assert.rejects(engine.vms.update('web', { link: 'up' }), refused)
  await assert.rejects(engine.parts.ports.publish(vm, { guestPort: 80, hostAddress: '127.0.0.1' }), refused)
  const stop = await engine.vms.stop('web', { force: false })
  await assert.rejects(stop.done, refused)
  assert.equal(engine.context.vms.find('web').state, 'running')
  assert.equal(engine.vmm.of(id).calls.length, calls, 'the guest was not asked')
  const [shown] = engine.vms.list({ limit: 1 }).items
  assert.deepEqual([shown?.identity, shown?.link], ['none', 'down'])
  await (await engine.vms.stop('web', { force: true })).done
  const started = await (await engine.vms.start('web')).done
  assert.deepEqual([started.identity, started.link], ['own', 'up'])
  assert.equal(engine.vmm.of(id).hostname, 'web')
})

test('a daemon that takes such a vm over leaves its guest alone', async () => {
  await using first = await TestEngine.open()
  const { id } = await first.createVm({ name: 'web' })
  await first.context.vms.update(id, { identity: 'none' })
  const { engine } = await first.restart()
  await using _ = engine
  const vm = engine.context.vms.find('web')
  assert.equal(vm.state, 'running')
  // One that was being opened would be waited for.
  await assert.rejects(async () => engine.parts.runtimes.get(id)?.guest.session(), { code: 'GUEST_UNREACHABLE' })
  assert.throws(() => engine.parts.runtimes.reachable(vm, 'run a command in'), refused)
})

test('a workload that a fork has left frozen is thawed when its vm goes on, and when it is stopped', async () => {
  await using engine = await TestEngine.open()
  for (const name of ['resumed', 'stopped']) {
    const { id } = await engine.createVm({ name })
    await (await engine.vms.pause(name, { toDisk: false })).done
    await engine.context.vms.update(id, { frozenWhilePaused: true })
    if (name === 'resumed') await (await engine.vms.resume(name)).done
    else await (await engine.vms.stop(name, { force: false })).done
    const calls = engine.vmm.of(id).calls
    assert.ok(calls.indexOf('thaw') > calls.lastIndexOf('cont'), `${name}: ${calls.join(' ')}`)
    if (name === 'resumed') assert.equal(engine.context.vms.find(name).frozenWhilePaused, undefined)
  }
})
