import assert from 'node:assert/strict'
import { test } from 'node:test'
import { silentLog } from '../../shared/log.ts'
import { TestEngine } from '../testing/test-engine.ts'
import { settleStall, stallReason } from './stalls.ts'

/** Resolves when a vm has come to a state. */
const untilState = ({ context }: TestEngine, state: string) =>
  new Promise<void>((resolve) => {
    context.events.subscribe(undefined, ({ type, data }) => {
      if (type === 'vm.state' && data?.state === state) resolve()
    })
  })

test('a guest whose write does not fit is paused, says why, and its time stands still until it is resumed', async () => {
  await using engine = await TestEngine.open()
  const { id } = await engine.createVm({ name: 'web', ttlSeconds: 3600 })
  const paused = untilState(engine, 'paused')
  engine.vmm.of(id).stall()
  await paused
  const vm = engine.context.vms.find(id)
  assert.equal(vm.stateReason, stallReason(vm))
  assert.match(vm.stateReason ?? '', /no space left.*ramet resume web/)
  assert.deepEqual([vm.expiresAtMs, typeof vm.ttlLeftMs], [undefined, 'number'])
  await (await engine.vms.resume('web')).done
  const resumed = engine.context.vms.find(id)
  assert.deepEqual([resumed.state, resumed.stateReason, typeof resumed.expiresAtMs], ['running', undefined, 'number'])
})

test('one that stalls while something is done with it is settled after that, if it still stands', async () => {
  await using engine = await TestEngine.open()
  const { id } = await engine.createVm({ name: 'web' })
  const runtime = engine.parts.runtimes.get(id)
  assert.ok(runtime)
  const guest = engine.vmm.of(id)
  let settling: Promise<void> | undefined
  await engine.parts.runtimes.exclusively(id, async () => {
    guest.status = 'io-error'
    settling = settleStall(engine.parts, id, runtime)
    guest.status = 'running'
  })
  await settling
  assert.equal(engine.context.vms.find(id).state, 'running', 'it had been let go on')
  await engine.parts.runtimes.exclusively(id, async () => {
    guest.status = 'io-error'
    settling = settleStall(engine.parts, id, runtime)
  })
  await settling
  assert.equal(engine.context.vms.find(id).state, 'paused')
})

test('a vm that is not running any more, or runs anew, is left alone', async () => {
  await using engine = await TestEngine.open()
  const { id } = await engine.createVm({ name: 'web' })
  const former = engine.parts.runtimes.get(id)
  assert.ok(former)
  await (await engine.vms.stop('web', { force: true })).done
  await settleStall(engine.parts, id, former)
  assert.equal(engine.context.vms.find(id).state, 'stopped')
  await (await engine.vms.start('web')).done
  engine.vmm.of(id).status = 'io-error'
  await settleStall(engine.parts, id, former)
  assert.equal(engine.context.vms.find(id).state, 'running', 'that event was of another run')
  await engine.vms.remove('web', true).then(({ done }) => done)
  await settleStall(engine.parts, id, former)
})

test('a QEMU that cannot be asked is told in the log, and nothing is thrown', async () => {
  const errors: string[] = []
  const error = (_: object, message?: string) => void errors.push(message ?? '')
  await using engine = await TestEngine.open({ log: { ...silentLog, error } })
  const { id } = await engine.createVm({ name: 'web' })
  const runtime = engine.parts.runtimes.get(id)
  assert.ok(runtime)
  engine.vmm.interfere = (what) => {
    if (what === 'query-status') throw new Error('no')
  }
  await settleStall(engine.parts, id, runtime)
  assert.deepEqual(errors, ['a vm without space could not be settled'])
  assert.equal(engine.context.vms.find(id).state, 'running')
})
