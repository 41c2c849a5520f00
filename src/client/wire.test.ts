import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decodeDataFrame, encodeDataFrame, execSubprotocol } from '../api/exec-socket.ts'
import { RametError } from '../shared/errors.ts'
import { Retry } from './back-off.ts'
import { errorOfResponse } from './errors.ts'
import { decodeFrame, encodeFrame, subprotocol } from './exec-frame.ts'
import { ExecInput } from './exec-input.ts'
import { ExecOutputStream } from './exec-output.ts'
import { serverSentEvents } from './server-sent-events.ts'
import { defaultDataDirectory, resolveTarget } from './settings.ts'
import { path, queryText } from './transport.ts'

test('frames are those of the wire, made without its validators', () => {
  assert.equal(subprotocol, execSubprotocol)
  for (const channel of ['stdin', 'stdout', 'stderr'] as const) {
    const frame = { channel, offset: 2 ** 40 + 7, data: Uint8Array.of(1, 2, 3) }
    const bytes = encodeFrame(channel, frame.offset, frame.data)
    assert.deepEqual(bytes, encodeDataFrame(frame))
    assert.deepEqual(decodeFrame(bytes), decodeDataFrame(bytes))
  }
  for (const bad of [[], [1, 0, 0], [9, 0, 0, 0, 0, 0, 0, 0, 0, 1], [1, 255, 255, 255, 255, 255, 255, 255, 255, 1]])
    assert.equal(decodeFrame(Uint8Array.from(bad)), undefined)
})

test('options come before the environment, that before the defaults', () => {
  const env = { RAMET_API_URL: 'http://10.0.0.1:7070', RAMET_API_KEY: 'key', RAMET_DATA_DIR: '/data' }
  assert.equal(resolveTarget({ socketPath: '/a.sock' }, env).socketPath, '/a.sock')
  assert.equal(resolveTarget({ dataDirectory: '/other' }, env).socketPath, '/other/ramet.sock')
  assert.equal(resolveTarget({ url: 'unix:///run/x.sock' }, env).socketPath, '/run/x.sock')
  assert.equal(resolveTarget({ url: 'unix:/run/x.sock' }, env).socketPath, '/run/x.sock')
  const remote = resolveTarget({}, env)
  assert.deepEqual([remote.url.host, remote.token, remote.socketPath], ['10.0.0.1:7070', 'key', undefined])
  assert.equal(resolveTarget({ token: 'mine' }, env).token, 'mine')
  assert.equal(resolveTarget({}, { RAMET_DATA_DIR: '/data' }).socketPath, '/data/ramet.sock')
  assert.match(defaultDataDirectory({ HOME: '/home/x' }), /^(\/var\/lib\/ramet|\/home\/x\/.local\/share\/ramet)$/)
  for (const url of ['nonsense', 'ftp://x']) assert.throws(() => resolveTarget({ url }, {}), RametError)
})

test('values in paths are escaped, and cannot lead anywhere else', () => {
  assert.equal(path`/v1/vms/${'../host'}/x`, '/v1/vms/..%2Fhost/x')
  assert.equal(queryText({ a: ['x', 'y z'], b: undefined, c: true }), '?a=x&a=y+z&c=true')
  assert.equal(queryText({}), '')
})

test('server-sent events are read however they are cut', async () => {
  const text = ': hello\n\nid: 7\nevent: vm.state\ndata: {"a":\ndata: 1}\n\ndata: ü\r\n\r\nevent: cut\ndata: off'
  const bytes = new TextEncoder().encode(text)
  for (const size of [1, 3, 1000]) {
    async function* body() {
      for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
    }
    const events = await Array.fromAsync(serverSentEvents(body()))
    assert.deepEqual(events, [
      { id: '7', type: 'vm.state', data: '{"a":\n1}' },
      { type: 'message', data: 'ü' },
    ])
  }
})

test('an error of something that is not the daemon is an error all the same', () => {
  assert.equal(errorOfResponse(502, '<html>').code, 'DAEMON_UNREACHABLE')
  assert.equal(errorOfResponse(404, '').code, 'NOT_FOUND')
  assert.equal(errorOfResponse(418, 'teapot').status, 418)
  const newer = errorOfResponse(409, JSON.stringify({ code: 'FROM_THE_FUTURE', detail: 'no', status: 409 }))
  assert.deepEqual([newer.code, newer.status, newer.message], ['FROM_THE_FUTURE', 409, 'no'])
})

test('trying again ends', async () => {
  let nowMs = 0
  const pauses: number[] = []
  const sleep = async (ms: number) => {
    pauses.push(ms)
    nowMs += ms
  }
  const clock = { nowMs: () => nowMs, monotonicMs: () => nowMs, sleep }
  const retry = new Retry({ firstMs: 10, mostMs: 40, totalMs: 100 }, clock)
  while (await retry.again()) assert.ok(pauses.length < 100)
  assert.deepEqual(pauses, [10, 20, 40, 30], 'twice as long each time, up to the most, and no longer than in all')
  retry.reset()
  assert.equal(await retry.again(), true)
  await assert.rejects(new Retry().again(AbortSignal.abort(new RangeError('stop'))), RangeError)
})

test('input keeps what is not acknowledged, and sends it again', async () => {
  const sent: string[] = []
  const input = new ExecInput(
    (offset, data) => sent.push(`${offset}:${Buffer.from(data)}`),
    (offset) => sent.push(`end ${offset}`),
  )
  const first = input.write(Buffer.from('abcdef'))
  input.connected(0, 4)
  assert.deepEqual(sent.splice(0), ['0:abcd'])
  input.acknowledge(2)
  assert.deepEqual(sent.splice(0), ['4:ef'])
  await first
  input.end()
  assert.deepEqual(sent.splice(0), ['end 6'])
  input.disconnected()
  input.connected(3, 100)
  assert.deepEqual(sent.splice(0), ['3:def', 'end 6'])
  input.fail(new RangeError('gone'))
  await assert.rejects(input.write(Buffer.from('x')), RangeError)
})

test('output is handed on once and in order, and acknowledged when it has been dealt with', async () => {
  const seen: string[] = []
  const acks: number[] = []
  const stream = new ExecOutputStream(
    'stdout',
    async (data) => void seen.push(Buffer.from(data).toString()),
    (offset) => acks.push(offset),
  )
  const fail = (error: unknown) => assert.fail(String(error))
  stream.connected(0, 100)
  stream.take(0, Buffer.from('abc'), fail)
  stream.take(1, Buffer.from('bcde'), fail)
  stream.take(2, Buffer.from('cd'), fail)
  await stream.drained()
  assert.deepEqual([seen, acks.at(-1), stream.offset], [['abc', 'de'], 5, 5])
  assert.equal(stream.resumeOffset, 4, 'the last acknowledgement may have been lost with the connection')
  acks.length = 0
  stream.connected(4, 100)
  assert.deepEqual(acks, [], 'a session takes no acknowledgement for what it has not sent')
  stream.take(4, Buffer.from('e'), fail)
  assert.deepEqual([seen.length, acks], [2, [5]])
  assert.throws(() => stream.take(9, Buffer.from('x'), fail), /jumped/)
  stream.connected(8, 100)
  assert.deepEqual([stream.lostBytes, stream.offset], [3, 8])
})
