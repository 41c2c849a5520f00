import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TemplateCreate } from '../../api/template.ts'
import { isRametError } from '../../shared/errors.ts'
import { TestEngine } from '../testing/test-engine.ts'

const fromVm = (name: string, vm: string) => TemplateCreate.parse({ name, from: 'vm', vm })

test('a vm that could not be captured runs on as it was, links down that were down', async () => {
  await using engine = await TestEngine.open()
  const vm = await engine.createVm({ name: 'web' })
  await engine.vms.update(vm.id, { link: 'down' })
  // A fake QEMU has no guest memory: the capture fails after the guest was stopped.
  await assert.rejects(engine.templates.create(fromVm('warm', 'web')).then(({ done }) => done))
  const guest = engine.vmm.of(vm.id)
  assert.equal(engine.context.vms.find(vm.id).state, 'running')
  assert.equal(guest.status, 'running')
  assert.equal(guest.calls.at(-1), 'thaw')
  assert.deepEqual([...guest.linksUp], [['nic0', false]])
  assert.deepEqual(engine.context.templates.list(), [])
  assert.deepEqual(engine.openOwners(), [])
})

test('a link that is plugged in during a capture comes up after it', async () => {
  await using engine = await TestEngine.open()
  const vm = await engine.createVm({ name: 'web' })
  await engine.vms.update(vm.id, { link: 'down' })
  const guest = engine.vmm.of(vm.id)
  let update: Promise<unknown> | undefined
  engine.vmm.interfere = (what) => {
    if (what === 'xen-save-devices-state') update = engine.vms.update(vm.id, { link: 'up' })
  }
  await assert.rejects(engine.templates.create(fromVm('warm', 'web')).then(({ done }) => done))
  await update
  assert.deepEqual([...guest.linksUp], [['nic0', true]])
  const saved = guest.calls.lastIndexOf('xen-save-devices-state')
  assert.ok(guest.calls.indexOf('cont', saved) < guest.calls.lastIndexOf('set_link'))
})

test('of two templates made of one vm, the second has no vm to be made of, or the first none', async () => {
  await using engine = await TestEngine.open()
  await engine.createVm({ name: 'web' })
  const actions = await Promise.all(['one', 'two'].map((name) => engine.templates.create(fromVm(name, 'web'))))
  await Promise.allSettled(actions.map(({ done }) => done))
  assert.equal(engine.context.vms.find('web').state, 'running')
  assert.deepEqual(engine.context.templates.list(), [])
  await (await engine.vms.remove('web', true)).done
  await assert.rejects(engine.templates.create(fromVm('one', 'web')), (error) => isRametError(error, 'VM_NOT_FOUND'))
})

test('a template is removed with its memory, its files and its keeper', async () => {
  await using engine = await TestEngine.open()
  const template = await engine.createTemplate()
  await (await engine.templates.remove(template)).done
  assert.deepEqual(engine.context.templates.list(), [])
  assert.deepEqual(engine.openOwners(), [])
})
