import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { ForkRequest } from '../../api/fork.ts'
import { TemplateCreate } from '../../api/template.ts'
import type { VmState } from '../../api/vm.ts'
import { isRametError } from '../../shared/errors.ts'
import { checkpointFile } from '../restore/restore-request.ts'
import { TestEngine } from '../testing/test-engine.ts'

const idle = { pauseAfterSeconds: 600, resumeOnCall: true }
const spanMs = 600_000

/** Resolves when a vm comes to a state, from now on. */
function untilState({ context }: TestEngine, state: VmState): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const { unsubscribe } = context.events.subscribe(undefined, ({ resource, data }) => {
    if (resource.kind === 'vm' && data.state === state) resolve()
  })
  return promise.finally(unsubscribe)
}

/** A vm that has paused by itself. */
async function asleep(engine: TestEngine, changes: Parameters<TestEngine['createVm']>[0] = {}): Promise<string> {
  const { id } = await engine.createVm({ name: 'web', idle, ...changes })
  await sleepAgain(engine, id)
  return id
}

async function sleepAgain(engine: TestEngine, id: string): Promise<void> {
  const paused = untilState(engine, 'paused')
  await engine.idleClock.advance(spanMs)
  await paused
  // The lock is free when the pause has come to its end.
  await engine.parts.runtimes.inBackground(id, async () => {})
}

const operations = (engine: TestEngine, kind: string) =>
  engine.context.operations
    .list()
    .filter((operation) => operation.kind === kind)
    .map(({ state }) => state)

const stateOf = (engine: TestEngine) => engine.context.vms.find('web').state

test('a vm that nobody calls pauses by itself, as if somebody had paused it, and says why', async () => {
  await using engine = await TestEngine.open()
  const { id } = await engine.createVm({ name: 'web', idle, ttlSeconds: 3600 })
  await engine.idleClock.advance(spanMs - 1)
  assert.equal(stateOf(engine), 'running')
  await sleepAgain(engine, id)
  const vm = engine.context.vms.find(id)
  assert.equal(vm.stateReason, 'paused by itself after 10 min without a call; the next call resumes it')
  assert.equal(engine.vmm.of(id).status, 'paused')
  assert.deepEqual([vm.expiresAtMs, typeof vm.ttlLeftMs], [undefined, 'number'], 'its time stands')
  assert.deepEqual(operations(engine, 'vm.pause'), ['succeeded'])
  const told = engine.events.findLast(({ type, data }) => type === 'vm.state' && data.state === 'paused')
  assert.match(String(told?.data.reason), /paused by itself/)
  const [shown] = engine.vms.list({ limit: 1 }).items
  assert.deepEqual([shown?.idlePaused, shown?.idle], [true, idle])
})

test('calls that come at once resume it once, and see nothing of it', async () => {
  await using engine = await TestEngine.open()
  const id = await asleep(engine)
  const calls = await Promise.all([1, 2, 3].map(() => engine.parts.calls.begin({ id })))
  for (const call of calls) assert.equal(call.vm.state, 'running')
  assert.deepEqual(operations(engine, 'vm.resume'), ['succeeded'])
  const vm = engine.context.vms.find(id)
  assert.deepEqual([vm.idlePaused, vm.stateReason], [undefined, undefined])
  await engine.idleClock.advance(10 * spanMs)
  assert.equal(stateOf(engine), 'running', 'calls are under way')
  for (const call of calls) call[Symbol.dispose]()
  await sleepAgain(engine, id)
})

test('a vm that somebody paused is not resumed by a call, also when it had paused by itself before', async () => {
  await using engine = await TestEngine.open()
  const id = await asleep(engine)
  await (await engine.vms.pause('web', { toDisk: false })).done
  const vm = engine.context.vms.find(id)
  assert.deepEqual([vm.state, vm.idlePaused, vm.stateReason], ['paused', undefined, undefined])
  using call = await engine.parts.calls.begin({ id })
  assert.equal(call.vm.state, 'paused')
  assert.throws(
    () => engine.parts.runtimes.reachable(call.vm, 'run a command in'),
    (error) => isRametError(error, 'ILLEGAL_STATE'),
  )
  await assert.rejects(engine.vms.pause('web', { toDisk: false }), (error) => isRametError(error, 'ILLEGAL_STATE'))
  await (await engine.vms.resume('web')).done
  assert.equal(stateOf(engine), 'running')
})

test('with resumeOnCall false it stays paused until it is resumed', async () => {
  await using engine = await TestEngine.open()
  const id = await asleep(engine, { idle: { ...idle, resumeOnCall: false } })
  assert.match(engine.context.vms.find(id).stateReason ?? '', /resume it with `ramet resume web`/)
  {
    using call = await engine.parts.calls.begin({ id })
    assert.equal(call.vm.state, 'paused')
  }
  await engine.vms.update('web', { idle })
  using call = await engine.parts.calls.begin({ id })
  assert.equal(call.vm.state, 'running')
})

for (const point of ['stop', 'cont'] as const) {
  test(`a call that comes while it pauses has the pause give way (at ${point})`, async () => {
    await using engine = await TestEngine.open()
    const { id } = await engine.createVm({ name: 'web', idle })
    const reached = Promise.withResolvers<void>()
    const goOn = Promise.withResolvers<void>()
    let waits = true
    engine.vmm.interfere = async (what) => {
      if (what !== point || !waits) return
      waits = false
      reached.resolve()
      await goOn.promise
    }
    await engine.idleClock.advance(spanMs)
    // A pause that is called off ends with `cont`, which needs a caller to begin with.
    const first = point === 'cont' ? engine.parts.calls.begin({ id }) : undefined
    await reached.promise
    const calls = [engine.parts.calls.begin({ id }), engine.parts.calls.begin({ id })]
    goOn.resolve()
    for (const call of [...calls, first]) assert.equal((await call)?.vm.state ?? 'running', 'running')
    assert.equal(engine.vmm.of(id).status, 'running')
    assert.deepEqual(operations(engine, 'vm.pause'), ['cancelled'])
    assert.deepEqual(operations(engine, 'vm.resume'), [], 'nothing was left to resume')
    assert.equal(engine.context.vms.find(id).idlePaused, undefined)
  })
}

test('an action that comes while it pauses is not refused, and finds it running', async () => {
  await using engine = await TestEngine.open()
  const { id } = await engine.createVm({ name: 'web', idle })
  for (const action of ['pause', 'stop'] as const) {
    const reached = Promise.withResolvers<void>()
    const goOn = Promise.withResolvers<void>()
    engine.vmm.interfere = async (what) => {
      if (what !== 'stop') return
      engine.vmm.interfere = () => {}
      reached.resolve()
      await goOn.promise
    }
    await engine.idleClock.advance(spanMs)
    await reached.promise
    assert.equal(stateOf(engine), 'pausing')
    const asked =
      action === 'pause' ? engine.vms.pause('web', { toDisk: false }) : engine.vms.stop('web', { force: true })
    goOn.resolve()
    await (await asked).done
    assert.equal(stateOf(engine), action === 'pause' ? 'paused' : 'stopped')
    assert.equal(engine.context.vms.find(id).idlePaused, undefined)
    if (action === 'pause') await (await engine.vms.resume('web')).done
  }
  assert.deepEqual(operations(engine, 'vm.pause'), ['cancelled', 'succeeded', 'cancelled'])
})

test('a resumption that fails is the answer to all who called, and the next call tries again', async () => {
  await using engine = await TestEngine.open()
  const id = await asleep(engine)
  engine.vmm.interfere = (what) => {
    if (what === 'cont') throw new TypeError('no')
  }
  const outcomes = await Promise.allSettled([engine.parts.calls.begin({ id }), engine.parts.calls.begin({ id })])
  for (const outcome of outcomes)
    assert.ok(outcome.status === 'rejected' && isRametError(outcome.reason, 'QMP_FAILED'), String(outcome.status))
  assert.deepEqual(operations(engine, 'vm.resume'), ['failed'])
  assert.equal(stateOf(engine), 'paused')
  engine.vmm.interfere = () => {}
  using call = await engine.parts.calls.begin({ id })
  assert.equal(call.vm.state, 'running')
})

test('a pause that fails leaves the vm running, and is tried again after the same time', async () => {
  await using engine = await TestEngine.open()
  const { id } = await engine.createVm({ name: 'web', idle })
  const failed = Promise.withResolvers<void>()
  engine.vmm.interfere = (what) => {
    if (what === 'stop') throw new TypeError('no')
  }
  engine.context.events.subscribe(undefined, ({ type }) => {
    if (type === 'operation.finished') failed.resolve()
  })
  await engine.idleClock.advance(spanMs)
  await failed.promise
  await engine.parts.runtimes.inBackground(id, async () => {})
  assert.equal(stateOf(engine), 'running')
  engine.vmm.interfere = () => {}
  await engine.idleClock.advance(spanMs - 1)
  assert.equal(stateOf(engine), 'running')
  await sleepAgain(engine, id)
  assert.deepEqual(operations(engine, 'vm.pause'), ['succeeded', 'failed'])
})

test('a connection to a published port resumes it; the port stays open all the while', async () => {
  await using engine = await TestEngine.open()
  const id = await asleep(engine, { ports: [{ guestPort: 80, hostAddress: '127.0.0.1' }] })
  const [port] = engine.context.vms.find(id).ports
  const running = untilState(engine, 'running')
  const socket = connect({ port: port?.hostPort ?? 0, host: '127.0.0.1' })
  await once(socket, 'connect')
  await running
  await engine.idleClock.advance(10 * spanMs)
  assert.equal(stateOf(engine), 'running', 'somebody is connected')
  const paused = untilState(engine, 'paused')
  // The fake guest never closes its half of a connection.
  socket.resetAndDestroy()
  // The other end is told a little later.
  while (engine.parts.runtimes.uses.isHeld(id)) await new Promise(setImmediate)
  await engine.idleClock.advance(spanMs)
  await paused
})

test('it is told anew at any time when it shall pause, from then on, or never', async () => {
  await using engine = await TestEngine.open()
  const { id } = await engine.createVm({ name: 'web' })
  await engine.idleClock.advance(10 * spanMs)
  assert.equal(stateOf(engine), 'running')
  await engine.vms.update('web', { idle })
  await engine.idleClock.advance(spanMs - 1)
  await engine.vms.update('web', { idle: { ...idle, pauseAfterSeconds: 60 } })
  await engine.idleClock.advance(59_999)
  assert.equal(stateOf(engine), 'running')
  await engine.vms.update('web', { idle: null })
  await engine.idleClock.advance(10 * spanMs)
  assert.equal(stateOf(engine), 'running')
  assert.equal(engine.context.vms.find(id).idle, undefined)
  assert.equal(engine.idleClock.sleeperCount, 0)
})

test('a child does not inherit it; it is asked for at the fork', async () => {
  await using engine = await TestEngine.open()
  const template = await engine.createTemplate()
  for (const request of [{ names: ['restless'] }, { names: ['web'], idle }])
    await (await engine.forks.fork(template, ForkRequest.parse(request))).done
  await sleepAgain(engine, engine.context.vms.find('web').id)
  assert.equal(engine.context.vms.find('restless').state, 'running')
  const agentless = ForkRequest.safeParse({ agent: false, idle })
  assert.match(agentless.error?.issues[0]?.message ?? '', /without the guest agent/)
})

test('a vm that paused by itself is resumed to be forked, and to become a template', async () => {
  await using engine = await TestEngine.open()
  const id = await asleep(engine)
  const forked = await engine.forks.forkVm(engine.context.vms.find(id), ForkRequest.parse({}))
  assert.notEqual(stateOf(engine), 'paused')
  // What a fork goes on to do needs a machine.
  await assert.rejects(forked.done)
  await sleepAgain(engine, id)
  const made = await engine.templates.create(TemplateCreate.parse({ from: 'vm', vm: 'web', name: 'warm' }))
  assert.notEqual(stateOf(engine), 'paused')
  await assert.rejects(made.done)
})

test('the next daemon leaves it paused, keeps its port open, and resumes it for a call', async () => {
  await using first = await TestEngine.open()
  const id = await asleep(first, { ports: [{ guestPort: 80, hostAddress: '127.0.0.1' }] })
  const { engine } = await first.restart()
  await using _ = engine
  engine.idle.start()
  const vm = engine.context.vms.find(id)
  assert.deepEqual([vm.state, vm.idlePaused], ['paused', true])
  const running = untilState(engine, 'running')
  const socket = connect({ port: vm.ports[0]?.hostPort ?? 0, host: '127.0.0.1' })
  await running
  socket.destroy()
})

test('after a restart of the daemon the time of a vm that runs begins anew', async () => {
  await using first = await TestEngine.open()
  const { id } = await first.createVm({ name: 'web', idle })
  await first.idleClock.advance(spanMs - 1)
  const { engine } = await first.restart()
  await using _ = engine
  engine.idle.start()
  await engine.idleClock.advance(spanMs - 1)
  assert.equal(stateOf(engine), 'running')
  await sleepAgain(engine, id)
})

for (const [status, expected] of [
  ['paused', 'paused'],
  ['running', 'running'],
] as const) {
  test(`a daemon that dies while it pauses one leaves it to the next: the guest is ${status}`, async () => {
    await using first = await TestEngine.open()
    const { id } = await first.createVm({ name: 'web', idle })
    await first.context.vms.update(id, { state: 'pausing', idlePaused: true, stateReason: 'paused by itself' })
    first.vmm.of(id).status = status
    const { engine } = await first.restart()
    await using _ = engine
    const vm = engine.context.vms.find(id)
    const isPaused = expected === 'paused'
    assert.deepEqual(
      [vm.state, vm.idlePaused, vm.stateReason !== undefined],
      [expected, isPaused || undefined, isPaused],
    )
    using call = await engine.parts.calls.begin({ id })
    assert.equal(call.vm.state, 'running')
  })
}

/** One that paused to disk by itself, as a daemon finds it; its guest arrives as soon as a page server is asked for it. */
async function onDisk(engine: TestEngine): Promise<string> {
  const { context, pageServers, vmm } = engine
  const { id } = await engine.createVm({ name: 'web', idle, ports: [{ guestPort: 80, hostAddress: '127.0.0.1' }] })
  const { ports } = context.vms.find(id)
  await (await engine.vms.kill(id)).done
  await mkdir(context.paths.suspended(id))
  await writeFile(join(context.paths.suspended(id), checkpointFile), 'memory')
  pageServers.onServe = () => vmm.of(id).arrive()
  const suspended = { digest: 'd'.repeat(64), fileBytes: 6, atMs: 1, frozen: true as const }
  await context.vms.update(id, { state: 'suspended', suspended, idlePaused: true, stateReason: 'idle', ports })
  return id
}

test('the next daemon keeps the port of one on disk, and brings it back for a connection, once', async () => {
  await using first = await TestEngine.open()
  const id = await onDisk(first)
  const { engine } = await first.restart()
  await using _ = engine
  const vm = engine.context.vms.find(id)
  assert.deepEqual([vm.state, vm.idlePaused], ['suspended', true])
  engine.pageServers.onServe = () => engine.vmm.of(id).arrive()
  const running = untilState(engine, 'running')
  const port = vm.ports[0]?.hostPort ?? 0
  const sockets = [connect({ port, host: '127.0.0.1' }), connect({ port, host: '127.0.0.1' })]
  await running
  using call = await engine.parts.calls.begin({ id })
  assert.deepEqual([call.vm.state, call.vm.idlePaused, call.vm.stateReason], ['running', undefined, undefined])
  assert.deepEqual(call.vm.ports, vm.ports, 'the same ports as before')
  await engine.parts.runtimes.inBackground(id, async () => {})
  assert.deepEqual(operations(engine, 'vm.resume'), ['succeeded'])
  for (const socket of sockets) socket.resetAndDestroy()
})

test('one on disk that cannot come back stays there, with its port open, and the call fails with the reason', async () => {
  await using engine = await TestEngine.open()
  const id = await onDisk(engine)
  await engine.parts.ports.publishAll(engine.context.vms.find(id), 'again')
  engine.vmm.interfere = (what) => {
    if (what === 'spawn') throw new TypeError('no QEMU today')
  }
  await assert.rejects(engine.parts.calls.begin({ id }), /no QEMU today/)
  const vm = engine.context.vms.find(id)
  assert.deepEqual([vm.state, vm.idlePaused], ['suspended', true])
  assert.ok(engine.parts.runtimes.openPorts.get(id, 80))
  await (await engine.vms.pause('web', { toDisk: false })).done
  using call = await engine.parts.calls.begin({ id })
  assert.equal(call.vm.state, 'suspended', 'somebody wants it there')
  await (await engine.vms.kill('web')).done
  assert.equal(engine.parts.runtimes.openPorts.get(id, 80), undefined)
})
