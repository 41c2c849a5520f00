import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ForkRequest } from '../../api/fork.ts'
import { waitForExit } from '../../host/process-identity.ts'
import { TestEngine } from '../testing/test-engine.ts'

test('a vm that runs is adopted, and one whose guest powered off meanwhile is stopped', async () => {
  await using first = await TestEngine.open()
  const runs = await first.createVm({ name: 'runs' })
  const ends = await first.createVm({ name: 'ends' })
  await first.close()
  first.vmm.of(ends.id).powerOff()
  await using second = (await first.restart()).engine
  assert.equal(second.context.vms.find('runs').state, 'running')
  assert.equal(second.context.vms.find('ends').state, 'stopped')
  assert.ok(second.parts.runtimes.get(runs.id))
  const stopped = await (await second.vms.stop('runs', { force: false })).done
  assert.equal(stopped.state, 'stopped')
})

test('a child that was started again when the daemon died keeps its disks', async () => {
  await using first = await TestEngine.open()
  const template = await first.createTemplate()
  const fork = await first.forks.fork(template, ForkRequest.parse({ names: ['child', 'other'], count: 2 }))
  await fork.done
  await (await first.vms.stop('child', { force: false })).done
  const { id } = first.context.vms.find('child')
  await first.context.vms.update(id, { state: 'starting' })
  await first.context.vms.update(first.context.vms.find('other').id, { state: 'starting' })
  await using second = (await first.restart()).engine
  assert.equal(second.context.vms.find('child').state, 'stopped')
  assert.equal(second.context.vms.nameTaken('other'), false)
})

test('a child of a running vm that was on its way when the daemon died goes, as one of a template does', async () => {
  await using first = await TestEngine.open()
  const template = await first.createTemplate()
  await (await first.forks.fork(template, ForkRequest.parse({ names: ['child'] }))).done
  const { id } = first.context.vms.find('child')
  await first.context.vms.update(id, { state: 'starting', source: { kind: 'vm', id: 'vm-1', name: 'web' } })
  await using second = (await first.restart()).engine
  assert.equal(second.context.vms.nameTaken('child'), false)
})

test('a vm that was captured when the daemon died goes on; one that was paused before stands again', async () => {
  await using first = await TestEngine.open()
  for (const name of ['ran', 'stood']) {
    const { id } = await first.createVm({ name })
    first.vmm.of(id).status = 'paused'
    await first.context.vms.update(id, { state: 'capturing', ...(name === 'stood' ? { capturedPaused: true } : {}) })
  }
  await using second = (await first.restart()).engine
  const states = ['ran', 'stood'].map((name) => second.context.vms.find(name))
  assert.deepEqual(
    states.map(({ id, state }) => [state, second.vmm.of(id).status]),
    [
      ['running', 'running'],
      ['paused', 'paused'],
    ],
  )
  assert.equal(states[1]?.capturedPaused, undefined)
})

test('a vm that was captured is not ended because its agent will not thaw it', async () => {
  await using first = await TestEngine.open()
  const { id } = await first.createVm({ name: 'web' })
  await first.context.vms.update(id, { state: 'capturing' })
  first.vmm.interfere = (what) => {
    if (what === 'thaw') throw new TypeError('no')
  }
  await using second = (await first.restart()).engine
  assert.equal(second.context.vms.find('web').state, 'running')
  assert.ok(second.parts.runtimes.get(id))
})

test('a vm that was being paused when the daemon died stands, and its time to live with it', async () => {
  await using first = await TestEngine.open()
  const vm = await first.createVm({ ttlSeconds: 1000 })
  await first.context.vms.update(vm.id, { state: 'pausing' })
  first.vmm.of(vm.id).status = 'paused'
  await using second = (await first.restart()).engine
  const adopted = second.context.vms.find(vm.id)
  assert.equal(adopted.state, 'paused')
  assert.equal(adopted.expiresAtMs, undefined)
  assert.ok((adopted.ttlLeftMs ?? 0) > 900_000)
})

test('a second keeper of a base, which its template never came to know, is ended; the first is left', async () => {
  await using first = await TestEngine.open()
  const template = await first.createTemplate()
  const base = await first.parts.bases.of(template)
  const second = await first.parts.bases.keep(template.id, base)
  await using engine = (await first.restart()).engine
  await waitForExit(second.keeper)
  assert.ok(engine.parts.bases.isResident(engine.context.templates.find(template.id)))
})

test('a vm whose create was cut short by the daemon’s end goes; one that was started by itself stays', async () => {
  await using first = await TestEngine.open()
  const { store, vms } = first.context
  const cut = await first.createVm({ name: 'cut', start: false })
  const waits = await first.createVm({ name: 'waits', start: false })
  for (const { id } of [cut, waits]) await vms.update(id, { state: 'starting' })
  const target = { kind: 'vm', id: cut.id, name: cut.name }
  const createdAt = new Date(0).toISOString()
  await store.create('operations', 'op-cut', { id: 'op-cut', kind: 'vm.create', target, state: 'running', createdAt })
  await using second = (await first.restart()).engine
  assert.equal(second.context.operations.get('op-cut').state, 'failed')
  assert.equal(second.context.vms.nameTaken('cut'), false)
  assert.equal(second.context.vms.find('waits').state, 'stopped')
})
