import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { VmRecord } from '../records.ts'
import { TestEngine } from '../testing/test-engine.ts'
import { restartDelayMs, shallRestart } from './ends.ts'

/** Resolves when a vm has come to a state for the nth time from now on. */
function untilState(engine: TestEngine, id: string, state: string, times = 1): Promise<void> {
  const come = Promise.withResolvers<void>()
  let left = times
  engine.context.events.subscribe(undefined, ({ resource, data }) => {
    if (resource.id !== id || data.state !== state) return
    left -= 1
    if (left === 0) come.resolve()
  })
  return come.promise
}

test('what each policy makes of each end', () => {
  const vm = (restart: VmRecord['restart'], restartCount = 0) => ({ restart, restartCount })
  assert.equal(shallRestart(vm({ mode: 'no' }), 'failure'), false)
  assert.equal(shallRestart(vm({ mode: 'on-failure' }), 'shutdown'), false)
  assert.equal(shallRestart(vm({ mode: 'on-failure' }), 'failure'), true)
  assert.equal(shallRestart(vm({ mode: 'always' }), 'shutdown'), true)
  assert.equal(shallRestart(vm({ mode: 'on-failure', maxRetries: 2 }, 1), 'failure'), true)
  assert.equal(shallRestart(vm({ mode: 'on-failure', maxRetries: 2 }, 2), 'failure'), false)
})

test('each restart in a row waits longer, up to a minute', () => {
  assert.deepEqual([0, 1, 2, 10].map(restartDelayMs), [1000, 2000, 4000, 60_000])
})

test('a vm that crashes is started again, until its policy has had enough', async () => {
  await using engine = await TestEngine.open()
  const { id } = await engine.createVm({ restart: { mode: 'on-failure', maxRetries: 2 } })
  for (let round = 0; round < 2; round += 1) {
    const again = untilState(engine, id, 'running')
    engine.vmm.of(id).crash()
    await again
  }
  const over = untilState(engine, id, 'failed')
  engine.vmm.of(id).crash()
  await over
  assert.deepEqual(engine.restartCounts, [0, 1])
  assert.equal(engine.context.vms.find(id).restartCount, 2)
})

test('a restart that fails is tried again, as a run that failed is', async () => {
  await using engine = await TestEngine.open()
  const { id } = await engine.createVm({ restart: { mode: 'always', maxRetries: 3 } })
  engine.vmm.interfere = (what) => {
    if (what === 'identity.apply') throw new TypeError('no')
  }
  const over = untilState(engine, id, 'failed', 4)
  engine.vmm.of(id).panic()
  await over
  assert.deepEqual(engine.restartCounts, [0, 1, 2])
})

test('one that ran well for a while begins at the shortest delay again', async () => {
  await using engine = await TestEngine.open()
  const { id } = await engine.createVm({ restart: { mode: 'always' } })
  await engine.context.vms.update(id, { restartCount: 5, startedAtMs: engine.context.clock.nowMs() - 120_000 })
  const again = untilState(engine, id, 'running')
  engine.vmm.of(id).powerOff()
  await again
  assert.deepEqual(engine.restartCounts, [0])
  assert.equal(engine.context.vms.find(id).restartCount, 1)
})

test('a vm that ended while there was no daemon is started by the next one', async () => {
  await using first = await TestEngine.open()
  const always = await first.createVm({ restart: { mode: 'always' } })
  const onFailure = await first.createVm({ restart: { mode: 'on-failure' } })
  await first.close()
  for (const { id } of [always, onFailure]) first.vmm.of(id).powerOff()
  await using second = (await first.restart()).engine
  const again = untilState(second, always.id, 'running')
  second.vms.restarts.resume(new Set([always.id, onFailure.id]))
  await again
  assert.equal(second.context.vms.find(onFailure.id).state, 'stopped')
})

test('a daemon that stops starts nothing again', async () => {
  await using engine = await TestEngine.open()
  const { id } = await engine.createVm({ restart: { mode: 'always' } })
  const failed = untilState(engine, id, 'failed')
  engine.vmm.of(id).crash()
  await failed
  engine.vms.restarts.stop()
  engine.vms.restarts.later(engine.context.vms.find(id))
  assert.equal(engine.context.vms.find(id).state, 'failed')
})
