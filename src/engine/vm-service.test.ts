import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TestEngine } from './testing/test-engine.ts'

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
