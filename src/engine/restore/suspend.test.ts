import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { test } from 'node:test'
import { TestEngine } from '../testing/test-engine.ts'

test('a vm whose QEMU ends while it is paused to disk has failed', async () => {
  await using engine = await TestEngine.open()
  const { id } = await engine.createVm({ name: 'web' })
  engine.vmm.interfere = async (what, guest) => {
    if (what !== 'ping') return
    guest?.crash()
    await guest?.gone
  }
  await assert.rejects((await engine.vms.pause(id, { toDisk: true })).done, { code: 'VMM_FAILED' })
  // Whoever settles its end waits for its turn.
  await engine.parts.runtimes.exclusively(id, async () => {})
  assert.equal(engine.context.vms.find(id).state, 'failed')
  assert.ok(!existsSync(engine.context.paths.suspended(id)))
})

test('a vm that cannot be paused to disk goes on', async () => {
  await using engine = await TestEngine.open()
  const { id } = await engine.createVm({ name: 'web' })
  engine.vmm.interfere = (what) => {
    if (what === 'ping') throw new Error('deaf')
  }
  await assert.rejects((await engine.vms.pause(id, { toDisk: true })).done)
  assert.equal(engine.context.vms.find(id).state, 'running')
  assert.equal(engine.vmm.of(id).status, 'running')
})
