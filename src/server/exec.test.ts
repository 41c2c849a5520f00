import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Exec, ExecResult } from '../api/exec.ts'
import { closeCodes, type OutputChannel } from '../api/exec-socket.ts'
import { TestExecClient } from './testing/exec-client.ts'
import { FakeEngine } from './testing/fake-engine.ts'
import { fakeWindowBytes, patternByte } from './testing/fake-process.ts'
import { Harness } from './testing/harness.ts'

async function startWeb(harness: Harness): Promise<void> {
  const { status } = await harness.call('POST', '/v1/vms', { body: { image: 'micro', name: 'web' } })
  assert.equal(status, 201)
}

const open = (harness: Harness) => new TestExecClient(harness.socket('/v1/vms/web/exec')).opened()
const attach = (harness: Harness, execId: string, have: Record<OutputChannel, number>) =>
  new TestExecClient(
    harness.socket(`/v1/vms/web/exec/${execId}/attach?stdout=${have.stdout}&stderr=${have.stderr}`),
    have,
  ).opened()

function checkPattern(chunks: Buffer[], length: number): void {
  const bytes = Buffer.concat(chunks)
  assert.equal(bytes.length, length)
  for (let at = 0; at < length; at += 1) if (bytes[at] !== patternByte(at)) assert.fail(`byte ${at} is wrong`)
}

test('a process runs: started, output, exit, and a clean close', async () => {
  await using harness = await Harness.start()
  await startWeb(harness)
  const client = await open(harness)
  client.say({ type: 'start', exec: { command: ['bytes', '300000', 'stderr'] } })
  const started = await client.message('started')
  assert.equal(started.windowBytes, fakeWindowBytes)
  const code = client.closed()
  const exit = await client.message('exit')
  assert.deepEqual([exit.exitCode, exit.stdoutOffset, exit.stderrOffset], [0, 0, 300_000])
  checkPattern(client.got.stderr, 300_000)
  assert.equal(client.fault, undefined)
  assert.equal(await code, closeCodes.normal)
})

test('output waits for acknowledgements, and nothing piles up', async () => {
  await using harness = await Harness.start()
  await startWeb(harness)
  const client = await open(harness)
  client.acknowledges = false
  client.say({ type: 'start', exec: { command: ['bytes', '1000000'] } })
  await client.message('started')
  await client.outputReaches('stdout', fakeWindowBytes - 10_007)
  // A round trip later still no more than the window has come.
  client.say({ type: 'ack', channel: 'stdout', offset: 0 })
  client.socket.ping()
  await new Promise((resolve) => client.socket.once('pong', resolve))
  assert.ok(client.offset.stdout <= fakeWindowBytes)
  client.acknowledges = true
  client.say({ type: 'ack', channel: 'stdout', offset: client.offset.stdout })
  await client.message('exit')
  checkPattern(client.got.stdout, 1_000_000)
})

test('input is acknowledged, and the end of input ends the process', async () => {
  await using harness = await Harness.start()
  await startWeb(harness)
  const client = await open(harness)
  client.say({ type: 'start', exec: { command: ['cat'] } })
  await client.message('started')
  client.input(0, Buffer.from('hello '))
  client.input(6, Buffer.from('world'))
  await client.message('stdin-ack', ({ offset }) => offset === 11)
  client.say({ type: 'eof', offset: 11 })
  assert.equal((await client.message('exit')).exitCode, 0)
  assert.equal(Buffer.concat(client.got.stdout).toString(), 'hello world')
})

test('a broken connection: attach with offsets, nothing lost and nothing doubled', async () => {
  await using harness = await Harness.start()
  await startWeb(harness)
  const total = 500_000
  let client = await open(harness)
  client.say({ type: 'start', exec: { command: ['bytes', String(total)], execId: 'job' } })
  const chunks: Buffer[] = []
  for (const until of [50_000, 200_000, 350_000]) {
    await client.message('started')
    await client.outputReaches('stdout', until)
    client.socket.terminate()
    await client.closed()
    chunks.push(...client.got.stdout)
    client = await attach(harness, 'job', client.offset)
    assert.equal(
      (await client.message('started')).stdoutOffset,
      chunks.reduce((sum, { length }) => sum + length, 0),
    )
  }
  await client.message('exit')
  assert.equal(client.fault, undefined)
  checkPattern([...chunks, ...client.got.stdout], total)
  assert.deepEqual(
    harness.engine.sessions.slice(0, 3).map(({ released }) => released),
    ['lost', 'lost', 'lost'],
  )
})

test('a restarted daemon: clients are told to attach again, output and input go on where they were', async () => {
  const engine = new FakeEngine()
  const before = await Harness.start({ engine })
  await startWeb(before)
  const first = await open(before)
  first.say({ type: 'start', exec: { command: ['cat'], execId: 'job' } })
  await first.message('started')
  first.input(0, Buffer.from('abc'))
  await first.outputReaches('stdout', 3)
  const code = first.closed()
  await before[Symbol.asyncDispose]()
  assert.equal(await code, closeCodes.goingAway)
  assert.equal(engine.sessions[0]?.released, 'lost')

  await using after = await Harness.start({ engine })
  const second = await attach(after, 'job', first.offset)
  const { stdinOffset, stdoutOffset } = await second.message('started')
  assert.deepEqual([stdinOffset, stdoutOffset], [3, 3])
  // The client cannot know what arrived: it repeats from where the acknowledgements ended.
  second.input(1, Buffer.from('bcdef'))
  second.say({ type: 'eof', offset: 6 })
  await second.message('exit')
  assert.equal(Buffer.concat([...first.got.stdout, ...second.got.stdout]).toString(), 'abcdef')
})

test('a start may be repeated with its id, and attaches', async () => {
  await using harness = await Harness.start()
  await startWeb(harness)
  const exec = { command: ['sleep'], execId: 'once', detached: true }
  const first = await open(harness)
  first.say({ type: 'start', exec })
  await first.message('started')
  const second = await open(harness)
  second.say({ type: 'start', exec })
  await second.message('started')
  assert.equal(harness.engine.processes.size, 1)
  assert.equal(await first.closed(), closeCodes.goingAway)
})

test('leaving: a process gets SIGHUP, unless it is detached', async () => {
  await using harness = await Harness.start()
  await startWeb(harness)
  for (const [execId, say, signal] of [
    ['left', undefined, 'SIGHUP'],
    ['kept', { type: 'detach' } as const, undefined],
  ] as const) {
    const client = await open(harness)
    client.say({ type: 'start', exec: { command: ['sleep'], execId } })
    await client.message('started')
    if (say !== undefined) client.say(say)
    client.socket.close(1000)
    await client.closed()
    while (harness.engine.sessions.at(-1)?.released === undefined) await new Promise(setImmediate)
    assert.equal(harness.engine.processes.get(execId)?.info().signal, signal)
  }
})

test('signals and resizes overtake input', async () => {
  await using harness = await Harness.start()
  await startWeb(harness)
  const client = await open(harness)
  client.say({ type: 'start', exec: { command: ['cat'], execId: 'tty', pty: { cols: 80, rows: 24 } } })
  await client.message('started')
  client.say({ type: 'resize', cols: 100, rows: 30 })
  client.say({ type: 'signal', signal: 'SIGTERM' })
  assert.equal((await client.message('exit')).signal, 'SIGTERM')
  assert.deepEqual(harness.engine.processes.get('tty')?.resized, { cols: 100, rows: 30 })
})

test('what is not in the protocol ends the connection with an error', async () => {
  await using harness = await Harness.start()
  await startWeb(harness)
  const refusals: [(client: TestExecClient) => void, RegExp][] = [
    [(client) => client.socket.send('{'), /text frame is JSON/],
    [(client) => client.socket.send('{"type":"dance"}'), /message\.type/],
    [(client) => client.say({ type: 'eof', offset: 0 }), /first one must be start/],
    [(client) => client.input(0, Buffer.from('x')), /first one must be start/],
    [(client) => client.socket.send(Buffer.from([9, 9, 9])), /binary frame is input/],
    [(client) => client.say({ type: 'start', exec: { command: [] } }), /message\.exec\.command/],
    [(client) => client.say({ type: 'start', exec: { command: ['nonesuch'] } }), /no such program/],
  ]
  for (const [act, detail] of refusals) {
    const client = await open(harness)
    const code = client.closed()
    act(client)
    assert.match((await client.message('error')).error.detail, detail)
    assert.equal(await code, closeCodes.error)
  }
  const unknown = await attach(harness, 'none', { stdout: 0, stderr: 0 })
  assert.equal((await unknown.message('error')).error.code, 'NOT_FOUND')
  const badQuery = await new TestExecClient(harness.socket('/v1/vms/web/exec/x/attach?stdout=-1')).opened()
  assert.match((await badQuery.message('error')).error.detail, /query\.stdout/)
})

test('input with a gap, and input beyond the window, are refused', async () => {
  await using harness = await Harness.start()
  await startWeb(harness)
  for (const [offset, bytes, detail] of [
    [5, 1, /gap/],
    [0, fakeWindowBytes + 1, /not acknowledged/],
  ] as const) {
    const client = await open(harness)
    client.say({ type: 'start', exec: { command: ['cat'] } })
    await client.message('started')
    client.input(offset, Buffer.alloc(bytes))
    assert.match((await client.message('error')).error.detail, detail)
  }
})

test('an acknowledgement of what has not come is refused', async () => {
  await using harness = await Harness.start()
  await startWeb(harness)
  const client = await open(harness)
  client.say({ type: 'start', exec: { command: ['sleep'] } })
  await client.message('started')
  client.say({ type: 'ack', channel: 'stdout', offset: 1 })
  assert.match((await client.message('error')).error.detail, /has not come/)
})

test('a lost guest link asks the client to attach again, and keeps the process', async () => {
  await using harness = await Harness.start()
  await startWeb(harness)
  const client = await open(harness)
  client.say({ type: 'start', exec: { command: ['sleep'], execId: 'job' } })
  await client.message('started')
  const code = client.closed()
  harness.engine.sessions[0]?.sever()
  assert.equal((await client.message('error')).error.code, 'AGENT_LINK_LOST')
  assert.equal(await code, closeCodes.goingAway)
  assert.equal(harness.engine.processes.get('job')?.exit, undefined)
})

test('a command can be run by one request', async () => {
  await using harness = await Harness.start()
  await startWeb(harness)
  const echo = await harness.call('POST', '/v1/vms/web/execs', { body: { command: ['echo', 'hi'] } })
  const result = echo.json<ExecResult>()
  assert.deepEqual([result.stdout, result.truncated, result.exec.exitCode], ['hi\n', false, 0])
  const large = await harness.call('POST', '/v1/vms/web/execs', { body: { command: ['bytes', '1500000'] } })
  assert.equal(large.json<ExecResult>().truncated, true)
  const refused = await harness.call('POST', '/v1/vms/web/execs', { body: { command: ['nonesuch'] } })
  assert.equal(refused.problem().code, 'GUEST_REFUSED')
  const body = { command: ['sleep'], detached: true, execId: 'bg' }
  assert.equal((await harness.call('POST', '/v1/vms/web/execs', { body })).json<ExecResult>().exec.state, 'running')
  assert.equal((await harness.call('GET', '/v1/vms/web/execs/bg')).json<Exec>().state, 'running')
  const signal = { signal: 'SIGKILL' }
  assert.equal((await harness.call('POST', '/v1/vms/web/execs/bg/signal', { body: signal })).status, 204)
  assert.equal((await harness.call('GET', '/v1/vms/web/execs/bg')).json<Exec>().signal, 'SIGKILL')
  assert.equal((await harness.call('DELETE', '/v1/vms/web/execs/bg')).status, 204)
  assert.equal((await harness.call('GET', '/v1/vms/web/execs/bg')).problem().code, 'NOT_FOUND')
})

test('a WebSocket route asked without an upgrade says so', async () => {
  await using harness = await Harness.start()
  assert.match((await harness.call('GET', '/v1/vms/web/exec')).problem().detail, /upgrade/)
})
