import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { isRametError } from '../shared/errors.ts'
import type { QmpClient } from './qmp.ts'
import { connectQmp } from './qmp-connect.ts'
import { LineSplitter, parseQmpMessage } from './qmp-wire.ts'

interface Command {
  id: number
  command: string
  oob: boolean
  args: Record<string, unknown>
}

/** A QMP server that says what the test tells it to. */
class FakeQemu implements AsyncDisposable {
  readonly #dir = mkdtempSync(join(tmpdir(), 'ramet-qmp-'))
  readonly path = join(this.#dir, 'qmp.sock')
  readonly commands: Command[] = []
  #socket: Socket | undefined
  #server: Server | undefined
  #client: QmpClient | undefined

  listen(answer: (command: Command, qemu: FakeQemu) => void, greet = true): void {
    this.#server = createServer((socket) => {
      this.#socket = socket
      socket.on('error', () => {})
      if (greet) this.send({ QMP: { version: {}, capabilities: ['oob'] } })
      const lines = new LineSplitter()
      socket.on('data', (chunk: Buffer) => {
        for (const line of lines.push(chunk)) this.#hear(JSON.parse(line), answer)
      })
    })
    this.#server.listen(this.path)
  }

  #hear(message: Record<string, unknown>, answer: (command: Command, qemu: FakeQemu) => void): void {
    const name = message.execute ?? message['exec-oob']
    const args = (message.arguments ?? {}) as Record<string, unknown>
    const command = { id: Number(message.id), command: String(name), oob: 'exec-oob' in message, args }
    this.commands.push(command)
    if (command.command === 'qmp_capabilities') this.send({ return: {}, id: command.id })
    else answer(command, this)
  }

  send(message: object): void {
    this.#socket?.write(`${JSON.stringify(message)}\r\n`)
  }

  raw(text: string): void {
    this.#socket?.write(text)
  }

  cut(): void {
    this.#socket?.destroy()
  }

  async client(): Promise<QmpClient> {
    this.#client = await connectQmp(this.path, { timeoutMs: 2000 })
    return this.#client
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client?.close()
    this.#socket?.destroy()
    await new Promise<void>((resolve) => (this.#server ? this.#server.close(() => resolve()) : resolve()))
    rmSync(this.#dir, { recursive: true, force: true })
  }
}

const failsWith = (pattern: RegExp, details: object) => (error: unknown) => {
  assert.ok(isRametError(error, 'QMP_FAILED'), String(error))
  assert.match(error.message, pattern)
  assert.partialDeepStrictEqual(error.details, details)
  return true
}

test('enables oob, matches replies by id, whatever their order', async () => {
  await using qemu = new FakeQemu()
  const waiting: Command[] = []
  qemu.listen((command) => {
    waiting.push(command)
    if (waiting.length < 3) return
    for (const { id, args } of waiting.reverse()) qemu.send({ return: args, id })
  })
  const client = await qemu.client()
  assert.deepEqual(qemu.commands[0]?.args, { enable: ['oob'] })
  const replies = await Promise.all([
    client.execute('a', { n: 1 }),
    client.execute('b', { n: 2 }),
    client.execute('migrate-recover', { n: 3 }, { oob: true }),
  ])
  assert.deepEqual(replies, [{ n: 1 }, { n: 2 }, { n: 3 }])
  assert.deepEqual(waiting.map((command) => command.oob).sort(), [false, false, true])
})

test('a refusal keeps the class and the text of QEMU', async () => {
  await using qemu = new FakeQemu()
  qemu.listen(({ id }) => qemu.send({ error: { class: 'CommandNotFound', desc: 'no such thing' }, id }))
  const client = await qemu.client()
  const details = { command: 'frobnicate', class: 'CommandNotFound', desc: 'no such thing' }
  await assert.rejects(client.execute('frobnicate'), failsWith(/frobnicate.*no such thing/, details))
})

test('a command without an answer times out by name; its late answer goes to nobody', async () => {
  await using qemu = new FakeQemu()
  qemu.listen(({ id, command }) => {
    if (command === 'quick') {
      qemu.send({ return: 'late', id: id - 1 })
      qemu.send({ return: 'quick', id })
    }
  })
  const client = await qemu.client()
  await assert.rejects(client.execute('slow', {}, { timeoutMs: 20 }), failsWith(/slow within 20 ms/, { timeoutMs: 20 }))
  assert.equal(await client.execute('quick'), 'quick')
})

test('a cut connection rejects what is pending, and all that comes after', async () => {
  await using qemu = new FakeQemu()
  qemu.listen(({ command }) => {
    if (command === 'last') qemu.cut()
  })
  const client = await qemu.client()
  const event = client.waitEvent('STOP')
  const first = client.execute('first')
  const last = client.execute('last')
  await assert.rejects(event, failsWith(/STOP/, { lost: true }))
  await assert.rejects(first, failsWith(/first/, { lost: true }))
  await assert.rejects(last, failsWith(/last/, { lost: true }))
  await client.closed
  assert.equal(client.isOpen, false)
  await assert.rejects(client.execute('more'), failsWith(/more/, { lost: true }))
})

test('an event that comes with the reply in one piece is not missed', async () => {
  await using qemu = new FakeQemu()
  const stamp = { seconds: 1700000000, microseconds: 500000 }
  qemu.listen(({ id }) => {
    const event = (n: number) => JSON.stringify({ event: 'RESUME', data: { n }, timestamp: stamp })
    qemu.raw(`${event(1)}\n${event(2)}\n${JSON.stringify({ return: {}, id })}\n`)
  })
  const client = await qemu.client()
  const predicate = (event: { data: Readonly<Record<string, unknown>> }) => event.data.n === 2
  const event = await client.executeAwaiting('cont', undefined, { name: 'RESUME', predicate })
  assert.equal(event.timestampMs, 1700000000500)
  assert.deepEqual(event.data, { n: 2 })
})

test('a refused command does not go on waiting for its event', async () => {
  await using qemu = new FakeQemu()
  qemu.listen(({ id }) => qemu.send({ error: { class: 'GenericError', desc: 'no' }, id }))
  const client = await qemu.client()
  await assert.rejects(client.executeAwaiting('cont', undefined, { name: 'RESUME' }), failsWith(/refused cont/, {}))
})

test('an abort ends a wait with its reason, and leaves the connection usable', async () => {
  await using qemu = new FakeQemu()
  qemu.listen(({ id, command }) => command === 'ping' && qemu.send({ return: 1, id }))
  const client = await qemu.client()
  const stop = new AbortController()
  const waits = [client.execute('hang', {}, stop), client.waitEvent('NEVER', undefined, stop)]
  stop.abort(new Error('enough'))
  for (const wait of waits) await assert.rejects(wait, /enough/)
  assert.equal(await client.execute('ping'), 1)
})

test('bytes that are not QMP end the connection', async () => {
  await using qemu = new FakeQemu()
  qemu.listen(() => qemu.raw('{"return": \n'))
  const client = await qemu.client()
  await assert.rejects(client.execute('x'), (error: Error) => {
    assert.match(String(error.cause), /not a QMP message/)
    return failsWith(/ended during x/, { lost: true })(error)
  })
})

test('waits for a socket that appears later, and gives up by time or signal', async () => {
  await using qemu = new FakeQemu()
  const stop = new AbortController()
  await assert.rejects(connectQmp(qemu.path, { timeoutMs: 20 }), failsWith(/no socket/, {}))
  const aborted = connectQmp(qemu.path, { signal: stop.signal })
  stop.abort(new Error('it died'))
  await assert.rejects(aborted, /it died/)
  const client = qemu.client()
  setImmediate(() => qemu.listen(({ id }) => qemu.send({ return: 7, id })))
  assert.equal(await (await client).execute('x'), 7)
})

test('a server without a greeting is no QEMU', async () => {
  await using qemu = new FakeQemu()
  qemu.listen(() => {}, false)
  await assert.rejects(connectQmp(qemu.path, { timeoutMs: 50 }), failsWith(/greeting within 50 ms/, {}))
})

test('a message is held only up to the limit', () => {
  const lines = new LineSplitter(10)
  assert.deepEqual(lines.push(Buffer.from('{"a":1}\r\n{"b')), ['{"a":1}'])
  assert.deepEqual(lines.push(Buffer.from('":2}\n\n')), ['{"b":2}'])
  lines.push(Buffer.from('0123456789'))
  assert.throws(() => lines.push(Buffer.from('0')), { code: 'QMP_FAILED' })
})

test('messages of odd shape are refused, not believed', () => {
  for (const line of ['', '[]', '1', 'null', '{}', '{"x":1}', '{"return":1'])
    assert.throws(() => parseQmpMessage(line), { code: 'QMP_FAILED' }, line)
  assert.deepEqual(parseQmpMessage('{"error":{"class":5},"id":1}'), {
    kind: 'error',
    id: 1,
    class: 'GenericError',
    desc: '',
  })
  assert.deepEqual(parseQmpMessage('{"QMP":{"capabilities":["oob",3]}}'), { kind: 'greeting', capabilities: ['oob'] })
})
