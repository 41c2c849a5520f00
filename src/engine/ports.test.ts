import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { test } from 'node:test'
import { isRametError } from '../shared/errors.ts'
import { TestEngine } from './testing/test-engine.ts'

/** Whether somebody listens on a port of this host. */
function isOpen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' })
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

test('a port that is published twice at the same time is opened once', async () => {
  await using engine = await TestEngine.open()
  const vm = await engine.createVm()
  const request = { guestPort: 80, hostAddress: '127.0.0.1' }
  const outcomes = await Promise.allSettled([
    engine.parts.ports.publish(vm, request),
    engine.parts.ports.publish(vm, request),
  ])
  const refused = outcomes.filter((outcome) => outcome.status === 'rejected')
  assert.equal(refused.length, 1)
  assert.ok(isRametError(refused[0]?.reason, 'IN_USE'))
  assert.equal(engine.context.vms.find(vm.id).ports.length, 1)
})

test('a port that is published while its vm stops does not stay open', async () => {
  await using engine = await TestEngine.open()
  const vm = await engine.createVm()
  const [stop, port] = await Promise.all([
    engine.vms.kill(vm.id),
    engine.parts.ports.publish(vm, { guestPort: 80, hostAddress: '127.0.0.1' }),
  ])
  await stop.done
  assert.equal(port.hostPort === 0 ? false : await isOpen(port.hostPort), false)
  await (await engine.vms.start(vm.id)).done
  const [reopened] = engine.context.vms.find(vm.id).ports
  assert.equal(await isOpen(reopened?.hostPort ?? 0), true)
  await engine.parts.ports.unpublish(vm, 80)
  assert.equal(await isOpen(reopened?.hostPort ?? 0), false)
})

test('a vm whose port cannot be opened on this host starts all the same', async () => {
  await using engine = await TestEngine.open()
  const vm = await engine.createVm({ ports: [{ guestPort: 80, hostAddress: '192.0.2.1' }] })
  assert.equal(vm.state, 'running')
  assert.deepEqual(vm.ports, [{ guestPort: 80, hostPort: 0, hostAddress: '192.0.2.1' }])
})
