import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { test } from 'node:test'
import { fakeVm } from '../server/testing/fake-resources.ts'
import { Harness, testToken } from '../server/testing/harness.ts'
import type { ErrorCode } from '../shared/errors.ts'
import { ForkError, Ramet, RametApiError, Vm } from './index.ts'
import { FlakyProxy } from './testing/flaky-proxy.ts'
import { until } from './testing/until.ts'

const has = (code: ErrorCode) => (error: unknown) => error instanceof RametApiError && error.code === code
const rametOf = (harness: Harness) => new Ramet({ socketPath: harness.server.socketPath })

test('a vm is created, found, changed and removed', async () => {
  await using harness = await Harness.start()
  const ramet = rametOf(harness)
  const vm = await ramet.vms.create({ image: 'micro', name: 'web', labels: { team: 'data' }, ttlMs: 60_000 })
  assert.equal(vm.name, 'web')
  assert.equal((await ramet.vms.get('web')).id, vm.id)
  await vm.pause()
  assert.equal(vm.state, 'paused')
  await assert.rejects(vm.pause(), has('ILLEGAL_STATE'))
  await vm.resume()
  assert.equal((await vm.refresh()).state, 'running')
  await vm.setTimeout(null)
  assert.equal(JSON.parse(JSON.stringify(vm)).id, vm.id)
  await vm.remove()
  await assert.rejects(ramet.vms.get('web'), (error) => {
    assert.ok(error instanceof RametApiError)
    assert.deepEqual([error.code, error.status, error.retryable], ['VM_NOT_FOUND', 404, false])
    assert.match(error.remediation, /ramet ls/)
    return true
  })
})

test('await using removes a vm, and one that is gone already is no error', async () => {
  await using harness = await Harness.start()
  {
    await using vm = await Vm.create({ image: 'micro' }, { socketPath: harness.server.socketPath })
    assert.equal(harness.engine.vms.size, 1)
    await using twice = await rametOf(harness).vms.get(vm.id)
    assert.equal(twice.id, vm.id)
  }
  assert.equal(harness.engine.vms.size, 0)
})

test('connect makes a paused vm go on', async () => {
  await using harness = await Harness.start()
  const vm = await rametOf(harness).vms.create({ image: 'micro' })
  await vm.pause()
  const again = await Vm.connect(vm.id, { socketPath: harness.server.socketPath })
  assert.equal(again.state, 'running')
})

test('lists are read to their end', async () => {
  await using harness = await Harness.start()
  for (let index = 0; index < 1203; index += 1) {
    const vm = fakeVm(`vm-${index}`, {})
    harness.engine.vms.set(vm.id, vm)
  }
  assert.equal((await rametOf(harness).vms.list()).length, 1203)
  assert.equal((await rametOf(harness).vms.list({ state: ['failed', 'paused'] })).length, 0)
})

test('a template is made and forked', async () => {
  await using harness = await Harness.start()
  const ramet = rametOf(harness)
  const vm = await ramet.vms.create({ image: 'micro', name: 'web' })
  const { template, kept } = await ramet.templates.create({ from: 'vm', vm: vm.id, name: 'warm' })
  assert.equal(kept, undefined)
  const children = await template.fork({ count: 3, namePrefix: 'worker' })
  assert.deepEqual(
    children.map((child) => child instanceof Vm && child.name),
    ['worker-0', 'worker-1', 'worker-2'],
  )
  await assert.rejects(template.remove(), (error) => {
    assert.ok(has('IN_USE')(error))
    assert.deepEqual((error as RametApiError).details.children, ['worker-0', 'worker-1', 'worker-2'])
    return true
  })
  const one = await ramet.vms.create({ template: 'warm', name: 'single' })
  assert.equal(one.name, 'single')
  await assert.rejects(template.fork({ memoryBytes: 1 }), has('FROZEN_BY_TEMPLATE'))
})

test('a child that was not made is an error in its place', async () => {
  await using harness = await Harness.start()
  const ramet = rametOf(harness)
  const vm = await ramet.vms.create({ image: 'micro', name: 'web' })
  const problem = {
    type: 'urn:ramet:problem:identity-unproved',
    title: 'Identity unproved',
    status: 502,
    detail: 'no proof',
    code: 'IDENTITY_UNPROVED' as const,
    remediation: 'fork again',
    retryable: true,
  }
  harness.engine.forkVm = async (_ref, _request, context) => {
    const made = { ok: true as const, vm: fakeVm('web-0', {}), timings: {} }
    const result = { results: [made, { ok: false as const, name: 'web-1', error: problem }], timings: {} }
    const operation = {
      id: context?.operationId ?? 'op-1',
      kind: 'vm.fork' as const,
      target: { kind: 'vm' as const, id: vm.id, name: 'web' },
      state: 'succeeded' as const,
      progress: { stage: 'done' },
      createdAt: new Date().toISOString(),
      result,
    }
    return { operation, done: Promise.resolve(result) }
  }
  const [made, failed] = await vm.fork({ count: 2 })
  assert.ok(made instanceof Vm)
  assert.ok(failed instanceof ForkError)
  assert.deepEqual([failed.childName, failed.code, failed.retryable], ['web-1', 'IDENTITY_UNPROVED', true])
  await assert.rejects(vm.forkAll({ count: 2 }), ForkError)
})

test('an abort cancels the operation on the daemon', async () => {
  await using harness = await Harness.start()
  const controller = new AbortController()
  harness.engine.gate = new Promise(() => {})
  const stages: string[] = []
  const creating = rametOf(harness).vms.create({
    image: 'micro',
    signal: controller.signal,
    onProgress: (progress) => stages.push(progress.stage),
  })
  await until(() => stages.length > 0)
  controller.abort(new RangeError('enough'))
  await assert.rejects(creating, RangeError)
  const [kept] = harness.engine.operations.values()
  assert.equal((await until(() => kept?.operation.state === 'cancelled' && kept)).operation.state, 'cancelled')
  assert.equal(harness.engine.vms.size, 0)
})

test('a fork that is waited for in one request is cancelled by an abort too', async () => {
  await using harness = await Harness.start()
  const ramet = rametOf(harness)
  const vm = await ramet.vms.create({ image: 'micro' })
  const controller = new AbortController()
  harness.engine.gate = new Promise(() => {})
  const before = harness.engine.operations.size
  const forking = vm.fork({ count: 2, signal: controller.signal })
  await until(() => harness.engine.operations.size > before)
  controller.abort(new RangeError('enough'))
  await assert.rejects(forking, RangeError)
  const [operation] = [...harness.engine.operations.values()].slice(before)
  assert.equal(
    (await until(() => operation?.operation.state === 'cancelled' && operation)).operation.state,
    'cancelled',
  )
  assert.equal(harness.engine.operations.size, before + 1)
})

test('a request whose answer was lost is not made twice', async () => {
  await using harness = await Harness.start()
  const path = join(harness.folder, 'proxy.sock')
  await using proxy = await FlakyProxy.start(path, harness.server.socketPath)
  proxy.budgets.push(1)
  const vm = await new Ramet({ socketPath: path }).vms.create({ image: 'micro', name: 'once' })
  assert.equal(vm.name, 'once')
  assert.equal(harness.engine.operations.size, 1)
})

test('waiting for an operation survives broken connections', async () => {
  await using harness = await Harness.start()
  const path = join(harness.folder, 'proxy.sock')
  await using proxy = await FlakyProxy.start(path, harness.server.socketPath)
  let open: () => void = () => {}
  harness.engine.gate = new Promise((resolve) => {
    open = resolve
  })
  const creating = new Ramet({ socketPath: path }).vms.create({ image: 'micro', name: 'patient' })
  await until(() => proxy.connections === 2)
  proxy.breakAll()
  await until(() => proxy.connections === 3)
  open()
  assert.equal((await creating).name, 'patient')
})

test('events come as they happen, after a break too', async () => {
  await using harness = await Harness.start()
  const path = join(harness.folder, 'proxy.sock')
  await using proxy = await FlakyProxy.start(path, harness.server.socketPath)
  const stop = new AbortController()
  const names: (string | undefined)[] = []
  const following = (async () => {
    for await (const event of new Ramet({ socketPath: path }).events({ signal: stop.signal })) {
      names.push(event.resource.name)
      if (names.length === 1) proxy.breakAll()
      if (names.length === 3) stop.abort()
    }
  })()
  await until(() => harness.engine.bus.listenerCount('event') === 1)
  for (const name of ['one', 'two', 'three']) harness.engine.emit('vm.created', { kind: 'vm', id: name, name })
  await following
  assert.deepEqual(names, ['one', 'two', 'three'])
})

test('forgotten events are said to be so', async () => {
  await using harness = await Harness.start()
  for (const name of ['one', 'two', 'three']) harness.engine.emit('vm.created', { kind: 'vm', id: name, name })
  harness.engine.oldestEventId = 3
  let resets = 0
  const stop = new AbortController()
  const events = rametOf(harness).events({ afterId: 1, signal: stop.signal, onReset: () => (resets += 1) })
  for await (const event of events) {
    assert.equal(event.resource.name, 'three')
    stop.abort()
  }
  assert.equal(resets, 1)
})

test('files are written, read, listed, renamed, watched and removed', async () => {
  await using harness = await Harness.start()
  const vm = await rametOf(harness).vms.create({ image: 'micro' })
  const big = Buffer.alloc(300_000, 'xyz')
  await vm.files.write('/srv/a', 'hello')
  await vm.files.write([{ path: '/srv/b', data: big }])
  assert.equal(await vm.files.read('/srv/a'), 'hello')
  assert.ok(Buffer.from(await vm.files.read('/srv/b', { format: 'bytes' })).equals(big))
  let streamedBytes = 0
  for await (const chunk of await vm.files.read('/srv/b', { format: 'stream' })) streamedBytes += chunk.length
  assert.equal(streamedBytes, big.length)
  assert.equal(await vm.files.read('/srv/a', { offset: 1, length: 3 }), 'ell')
  assert.deepEqual(
    (await vm.files.list('/srv')).map((entry) => entry.name),
    ['a', 'b'],
  )
  assert.equal((await vm.files.rename('/srv/a', '/srv/c')).name, 'c')
  assert.deepEqual([await vm.files.exists('/srv/a'), await vm.files.exists('/srv/c')], [false, true])
  assert.equal(await vm.files.makeDir('/srv/new'), true)
  assert.equal(await vm.files.makeDir('/srv/c'), false)
  await vm.files.remove('/srv/c')
  await assert.rejects(vm.files.read('/srv/c'), has('NOT_FOUND'))
  const events: string[] = []
  const watch = await vm.files.watchDir('/srv', (event) => events.push(`${event.type} ${event.path}`))
  await until(() => events.length > 0)
  await watch.stop()
  assert.deepEqual(events, ['created /srv/a'])
})

test('a port is published when it is asked for, once', async () => {
  await using harness = await Harness.start()
  const vm = await rametOf(harness).vms.create({ image: 'micro' })
  assert.equal(await vm.getHost(80), '127.0.0.1:40000')
  assert.equal(await vm.getHost(80), '127.0.0.1:40000')
  assert.equal((await vm.ports()).length, 1)
  await vm.unpublish(80)
  assert.deepEqual(await vm.ports(), [])
})

test('images are built and imported from a stream', async () => {
  await using harness = await Harness.start()
  const ramet = rametOf(harness)
  assert.equal((await ramet.images.build({ recipe: 'debian' })).name, 'debian')
  async function* content() {
    for (let index = 0; index < 10; index += 1) yield Buffer.alloc(100_000)
  }
  const image = await ramet.images.import(content(), { name: 'mine', replace: true })
  assert.equal(image.storedBytes, 1_000_000)
  await ramet.images.remove('mine')
  assert.equal(
    (await ramet.images.list()).some(({ name }) => name === 'mine'),
    false,
  )
})

test('the rest of a daemon is asked about', async () => {
  await using harness = await Harness.start()
  const ramet = rametOf(harness)
  const vm = await ramet.vms.create({ image: 'micro', name: 'web' })
  assert.equal((await ramet.host()).accelerator, 'tcg')
  assert.equal((await ramet.doctor()).usable, true)
  assert.equal((await ramet.tree({ of: 'web' })).nodes[0]?.name, 'web')
  assert.equal((await ramet.version()).api, 'v1')
  assert.equal((await vm.stats()).name, 'web')
  const console: Uint8Array[] = []
  for await (const chunk of await vm.logs({ tail: 2 })) console.push(chunk)
  assert.equal(Buffer.concat(console).toString(), 'two\nthree\n')
  const [operation] = await ramet.operations.list()
  assert.equal((await ramet.operations.wait(operation?.id ?? '')).state, 'succeeded')
  await assert.rejects(ramet.operations.cancel(operation?.id ?? ''), has('ILLEGAL_STATE'))
})

test('over HTTP the token is sent', async () => {
  await using harness = await Harness.start()
  const url = `http://127.0.0.1:${harness.server.address?.port}`
  await assert.rejects(new Ramet({ url, token: 'wrong' }).vms.list(), has('UNAUTHORIZED'))
  const ramet = new Ramet({ url, token: testToken })
  const vm = await ramet.vms.create({ image: 'micro' })
  assert.equal((await vm.commands.run(['echo', 'hi'])).stdout, 'hi\n')
})

test('where no daemon listens an error says so, and somebody may start one', async () => {
  const socketPath = '/nonexistent/ramet.sock'
  await assert.rejects(new Ramet({ socketPath }).vms.list(), (error) => {
    assert.ok(has('DAEMON_UNREACHABLE')(error))
    assert.match((error as Error).message, /nonexistent/)
    return true
  })
  let asked = 0
  const onUnreachable = async () => {
    asked += 1
  }
  const ramet = new Ramet({ socketPath, onUnreachable })
  await assert.rejects(ramet.vms.list(), has('DAEMON_UNREACHABLE'))
  assert.equal(asked, 1)
})

test('the signal of a client aborts its calls', async () => {
  await using harness = await Harness.start()
  const ramet = new Ramet({ socketPath: harness.server.socketPath, signal: AbortSignal.abort(new RangeError('off')) })
  await assert.rejects(ramet.vms.list(), RangeError)
})

test('an answer cut short is an error, not a short answer', async () => {
  const server = createServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': '1000' })
    response.write('{"items":[', () => response.socket?.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const port = typeof address === 'object' ? address?.port : 0
  try {
    await assert.rejects(new Ramet({ url: `http://127.0.0.1:${port}` }).vms.list(), has('DAEMON_UNREACHABLE'))
  } finally {
    server.close()
  }
})
