import assert from 'node:assert/strict'
import { connect, createServer } from 'node:net'
import { test } from 'node:test'
import { ForkRequest } from '../../api/fork.ts'
import { isRametError } from '../../shared/errors.ts'
import { TestEngine } from '../testing/test-engine.ts'

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

/** A port of this host that somebody else has. */
async function takePort(): Promise<AsyncDisposable & { port: number }> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const bound = server.address()
  const port = typeof bound === 'object' && bound !== null ? bound.port : 0
  return { port, [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())) }
}

test('a first start whose host port is taken fails; a later one takes another port', async () => {
  await using engine = await TestEngine.open()
  const taken = await takePort()
  const ports = [{ guestPort: 80, hostPort: taken.port, hostAddress: '127.0.0.1' }]
  await assert.rejects(engine.createVm({ name: 'web', ports }), (error) => isRametError(error, 'IN_USE'))
  const failed = engine.context.vms.find('web')
  assert.equal(failed.state, 'failed')
  assert.match(failed.failure?.message ?? '', new RegExp(String(taken.port)))
  assert.deepEqual(engine.openOwners(), [])
  await assert.rejects((await engine.vms.start('web')).done, (error) => isRametError(error, 'IN_USE'))
  await taken[Symbol.asyncDispose]()
  await (await engine.vms.start('web')).done
  assert.equal(engine.context.vms.find('web').ports[0]?.hostPort, taken.port)
  await (await engine.vms.kill('web')).done
  const other = createServer()
  await new Promise<void>((resolve) => other.listen(taken.port, '127.0.0.1', resolve))
  await (await engine.vms.start('web')).done
  other.close()
  const [moved] = engine.context.vms.find('web').ports
  assert.notEqual(moved?.hostPort, taken.port)
  assert.equal(await isOpen(moved?.hostPort ?? 0), true)
})

test('of two forks that ask for one host port, one fails and leaves nothing', async () => {
  await using engine = await TestEngine.open()
  const template = await engine.createTemplate()
  const { port } = await takePort().then(async (taken) => {
    await taken[Symbol.asyncDispose]()
    return taken
  })
  const ports = [{ guestPort: 80, hostPort: port, hostAddress: '127.0.0.1' }]
  const forks = ['one', 'two'].map(async (name) => {
    const fork = await engine.forks.fork(template, ForkRequest.parse({ names: [name], ports }))
    return (await fork.done).results
  })
  const results = (await Promise.all(forks)).flat()
  const codes = results.map((result) => (result.ok ? 'ok' : result.error.code))
  assert.deepEqual(codes.toSorted(), ['IN_USE', 'ok'])
  const children = engine.context.vms.list().filter(({ templateId }) => templateId === template.id)
  assert.deepEqual(
    children.map(({ ports: [made] }) => made?.hostPort),
    [port],
  )
})

test('ports stay open while nothing runs for a vm that will come back, and are not opened twice then', async () => {
  await using engine = await TestEngine.open()
  const vm = await engine.createVm({ ports: [{ guestPort: 80, hostAddress: '127.0.0.1' }] })
  const hostPort = vm.ports[0]?.hostPort ?? 0
  const { runtimes, ports } = engine.parts
  const runtime = runtimes.get(vm.id)
  await runtimes.drop(vm.id, 'keep')
  assert.equal(await isOpen(hostPort), true)
  await ports.publishAll(vm, 'again')
  assert.deepEqual(engine.context.vms.find(vm.id).ports, vm.ports)
  await runtimes.drop(vm.id)
  assert.equal(await isOpen(hostPort), false)
  await ports.publishAll({ ...vm, state: 'suspended' }, 'again')
  assert.equal(await isOpen(hostPort), true, 'a daemon that comes later opens them too')
  await runtime?.qemu.kill()
})
