import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { VmState } from '../../api/vm.ts'
import { type ErrorCode, isRametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import { TestEngine } from '../testing/test-engine.ts'

test('a vm boots, stops, and leaves nothing when it is removed', async () => {
  await using engine = await TestEngine.open()
  const vm = await engine.createVm({ name: 'web' })
  assert.equal(vm.state, 'running')
  assert.equal(engine.vmm.of(vm.id).hostname, 'web')
  const stopped = await (await engine.vms.stop('web', { force: false })).done
  assert.equal(stopped.state, 'stopped')
  await (await engine.vms.remove('web', false)).done
  assert.deepEqual(engine.context.vms.list(), [])
  assert.deepEqual(engine.openOwners(), [])
})

const code = (wanted: ErrorCode) => (error: unknown) => isRametError(error, wanted)

/** Holds the named request of every guest back until `open()`. */
function gate(engine: TestEngine, what: string) {
  const reached = Promise.withResolvers<void>()
  const opened = Promise.withResolvers<void>()
  engine.vmm.interfere = async (called) => {
    if (called !== what) return
    reached.resolve()
    await opened.promise
  }
  return { reached: reached.promise, open: opened.resolve }
}

/** Resolves when the vm has come to a state. */
function untilState(engine: TestEngine, id: string, state: VmState): Promise<void> {
  const come = Promise.withResolvers<void>()
  engine.context.events.subscribe(undefined, ({ resource, data }) => {
    if (resource.id === id && data.state === state) come.resolve()
  })
  if (engine.context.vms.get(id)?.state === state) come.resolve()
  return come.promise
}

test('a stop that is cancelled leaves a running vm, whose end is then its own doing', async () => {
  await using engine = await TestEngine.open()
  const vm = await engine.createVm()
  const held = gate(engine, 'shutdown')
  const stop = await engine.vms.stop(vm.id, { force: false })
  await held.reached
  engine.context.operations.cancel(stop.operation.id)
  await assert.rejects(stop.done, code('CANCELLED'))
  assert.equal(engine.context.vms.find(vm.id).state, 'running')
  const stopped = untilState(engine, vm.id, 'stopped')
  held.open()
  await stopped
})

test('a guest that does not shut down in time runs on, or is ended by force', async () => {
  await using engine = await TestEngine.open()
  const vm = await engine.createVm()
  const held = gate(engine, 'shutdown')
  await assert.rejects((await engine.vms.stop(vm.id, { force: false, timeoutMs: 50 })).done, code('TIMEOUT'))
  assert.equal(engine.context.vms.find(vm.id).state, 'running')
  const stopped = await (await engine.vms.stop(vm.id, { force: true, timeoutMs: 50 })).done
  assert.equal(stopped.state, 'stopped')
  held.open()
})

test('a boot that hangs is cut short by a kill and by a removal with force', async () => {
  await using engine = await TestEngine.open()
  const vm = await engine.createVm({ start: false })
  const held = gate(engine, 'identity.apply')
  const start = await engine.vms.start(vm.id)
  await held.reached
  const killed = await (await engine.vms.kill(vm.id)).done
  await assert.rejects(start.done, code('CANCELLED'))
  assert.equal(killed.state, 'stopped')
  const again = await engine.vms.start(vm.id)
  await (await engine.vms.remove(vm.id, true)).done
  await assert.rejects(again.done)
  assert.deepEqual(engine.context.vms.list(), [])
  assert.deepEqual(engine.openOwners(), [])
  held.open()
})

test('the time to live stands while a vm is paused, also one that is given then', async () => {
  await using engine = await TestEngine.open()
  const vm = await engine.createVm({ ttlSeconds: 1000 })
  await (await engine.vms.pause(vm.id, { toDisk: false })).done
  assert.equal(engine.context.vms.find(vm.id).expiresAtMs, undefined)
  const nowMs = engine.context.clock.nowMs()
  await engine.vms.update(vm.id, { ttlSeconds: 50 })
  await (await engine.vms.resume(vm.id)).done
  const { expiresAtMs = 0 } = engine.context.vms.find(vm.id)
  assert.ok(expiresAtMs - nowMs >= 50_000 && expiresAtMs - nowMs < 60_000, String(expiresAtMs - nowMs))
  await (await engine.vms.pause(vm.id, { toDisk: false })).done
  await engine.vms.update(vm.id, { ttlSeconds: null })
  await (await engine.vms.resume(vm.id)).done
  assert.equal(engine.context.vms.find(vm.id).expiresAtMs, undefined)
})

test('a vm that is started before its clone’s turn comes is not copied', async () => {
  await using engine = await TestEngine.open()
  const vm = await engine.createVm({ start: false })
  const [start, clone] = await Promise.all([
    engine.vms.start(vm.id),
    engine.vms.clone(vm.id, { labels: {}, start: false }),
  ])
  await start.done
  await assert.rejects(clone.done, code('ILLEGAL_STATE'))
  assert.equal(engine.context.vms.list().length, 1)
  assert.deepEqual(engine.openOwners(), [])
})

test('a clone that fails to be recorded leaves nothing, and frees its seat', async () => {
  await using engine = await TestEngine.open()
  const vm = await engine.createVm({ start: false })
  const clone = await engine.vms.clone(vm.id, { name: 'copy', labels: {}, start: false })
  await engine.createVm({ name: 'copy', start: false }).catch(() => {})
  await clone.done.catch(() => {})
  const before = engine.context.seats.take()
  const second = await engine.vms.clone(vm.id, { name: 'copy-2', labels: {}, start: true })
  assert.equal((await second.done).state, 'running')
  assert.ok(engine.context.vms.find('copy-2').seat > before)
  assert.deepEqual(engine.openOwners(), [])
})

test('starting again and again leaves nothing in the journal', async () => {
  await using engine = await TestEngine.open()
  const vm = await engine.createVm()
  for (let round = 0; round < 2; round += 1) {
    await (await engine.vms.kill(vm.id)).done
    await (await engine.vms.start(vm.id)).done
  }
  engine.vmm.interfere = (what) => {
    if (what === 'identity.apply') throw new TypeError('no')
  }
  await (await engine.vms.kill(vm.id)).done
  await assert.rejects((await engine.vms.start(vm.id)).done)
  assert.equal(engine.context.vms.find(vm.id).state, 'failed')
  assert.deepEqual(engine.openOwners(), [])
})

test('a disk larger than one can be, or of half a sector, is refused before anything is made, naming the largest', async () => {
  await using engine = await TestEngine.open()
  await assert.rejects(engine.createVm({ disks: [{ sizeBytes: limits.diskMaxBytes + 512 }] }), (error) => {
    assert(isRametError(error, 'INVALID_ARGUMENT'))
    assert.match(error.message, /64 TiB/)
    return true
  })
  await assert.rejects(engine.createVm({ disks: [{ sizeBytes: 2 ** 20 + 1 }] }), code('INVALID_ARGUMENT'))
  assert.deepEqual(engine.context.vms.list(), [])
  await engine.createVm({ start: false, disks: [{ sizeBytes: limits.diskMaxBytes }] })
})
