import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import fc from 'fast-check'
import { type ErrorCode, isRametError } from '../../shared/errors.ts'
import { DelayedSource } from './delayed-source.ts'
import { type HttpRangeOptions, HttpRangeSource } from './http-range-source.ts'
import { answerRange, type Misbehaviour, type RangeServer, serveRanges } from './testing/range-server.ts'
import { readEverything } from './testing/read-everything.ts'
import { bufferSource, fillRandom, randomOf, sampleGuest, withDirectory } from './testing/sample.ts'
import { writeCheckpoint } from './write.ts'

const content = Buffer.alloc(100_000)
fillRandom(content, randomOf(1))

const quick: HttpRangeOptions = { retryMs: 1, timeoutMs: 5_000, attemptCount: 3 }

/** Reads bytes 1000 to 1999 of a server that misbehaves. */
async function readThrough(misbehave: Misbehaviour, options: HttpRangeOptions = {}) {
  await using server = await serveRanges(content)
  server.misbehave = misbehave
  const source = new HttpRangeSource(server.url, { ...quick, ...options })
  const result = await source.readRange(1000, 1000).catch((error: unknown) => error)
  return { result, attempts: server.seen.length }
}

function assertRefused(result: unknown, code: ErrorCode, message: RegExp): void {
  assert.ok(isRametError(result, code), String(result))
  assert.match(result.message, message)
  assert.ok(!result.message.includes('secret'), 'no key in a message')
}

/** Only the first so many times. */
const times = (count: number, misbehave: Misbehaviour): Misbehaviour => {
  let done = 0
  return (seen, response) => {
    done += 1
    return done <= count && misbehave(seen, response)
  }
}

test('a checkpoint is read over HTTP as from a file', () =>
  withDirectory(async (directory) => {
    const { memory, parts } = sampleGuest({ pageCount: 300 })
    await writeCheckpoint(join(directory, 'a'), parts, { workerCount: 1, blockPages: 8 })
    await using server = await serveRanges(await readFile(join(directory, 'a')))
    const source = new HttpRangeSource(server.url, { ...quick, headers: { authorization: 'Bearer abc' } })
    assert.equal(source.sizeBytes, undefined)
    await readEverything(source, memory)
    assert.equal(source.sizeBytes, server.content.length)
    assert.ok(server.seen.every(({ message }) => message.headers.authorization === 'Bearer abc'))
    assert.ok(server.seen.every(({ message }) => message.headers['accept-encoding'] === 'identity'))
  }))

test('ranges at the end and behind it', async () => {
  await using server = await serveRanges(content)
  const source = new HttpRangeSource(server.url, quick)
  assert.ok((await source.readRange(0, 200_000)).equals(content))
  assert.ok((await source.readRange(99_990, 100)).equals(content.subarray(99_990)))
  assert.equal((await source.readRange(100_000, 10)).length, 0)
  assert.equal((await source.readRange(100_001, 10)).length, 0)
  const asked = server.seen.length
  assert.equal((await source.readRange(5, 0)).length, 0)
  assert.equal(server.seen.length, asked, 'for nothing nobody is asked')
})

const passing: Record<string, [RegExp, Misbehaviour]> = {
  'an error of the server': [/answered 503/, (_, response) => Boolean(response.writeHead(503).end('busy'))],
  'too many requests': [/answered 429/, (_, response) => Boolean(response.writeHead(429).end())],
  'a connection that ends before the answer': [/./, (_, response) => Boolean(response.destroy())],
  'a connection that ends in the middle': [
    /./,
    (_, response) => {
      response.writeHead(206, { 'content-range': 'bytes 1000-1999/100000', 'content-length': 1000 })
      response.write(content.subarray(1000, 1500), () => response.destroy())
      return true
    },
  ],
  'an answer that is shorter than it said': [
    /ended after 999 of 1000 bytes/,
    (_, response) => {
      response.writeHead(206, { 'content-range': 'bytes 1000-1999/100000' }).end(content.subarray(1000, 1999))
      return true
    },
  ],
  'an answer that is longer than it said': [
    /longer than it said/,
    (_, response) => {
      response.writeHead(206, { 'content-range': 'bytes 1000-1999/100000' }).end(content.subarray(1000, 2001))
      return true
    },
  ],
}

for (const [name, [message, misbehave]] of Object.entries(passing)) {
  test(`${name} passes: the same bytes are asked for again`, async () => {
    const { result, attempts } = await readThrough(times(2, misbehave))
    assert.ok(Buffer.isBuffer(result) && result.equals(content.subarray(1000, 2000)), String(result))
    assert.equal(attempts, 3)
  })
  test(`${name} every time is an error after all attempts`, async () => {
    const { result, attempts } = await readThrough(misbehave)
    assertRefused(result, 'CHECKPOINT_UNREACHABLE', message)
    assert.equal(attempts, 3)
  })
}

const head = (headers: Record<string, string>, status = 206): Misbehaviour => {
  return (_, response) => Boolean(response.writeHead(status, headers).end(content.subarray(1000, 2000)))
}

const lasting: Record<string, [ErrorCode, RegExp, Misbehaviour]> = {
  'does not know ranges': ['CHECKPOINT_UNREACHABLE', /whole file/, (_, r) => Boolean(r.writeHead(200).end(content))],
  'sends other bytes': ['CHECKPOINT_UNREACHABLE', /other bytes/, head({ 'content-range': 'bytes 0-999/100000' })],
  'sends fewer bytes and says so': [
    'CHECKPOINT_UNREACHABLE',
    /other bytes/,
    head({ 'content-range': 'bytes 1000-1998/100000' }),
  ],
  'sends more bytes and says so': [
    'CHECKPOINT_UNREACHABLE',
    /other bytes/,
    head({ 'content-range': 'bytes 1000-99999/100000' }),
  ],
  'does not tell which bytes it sends': ['CHECKPOINT_UNREACHABLE', /does not tell/, head({})],
  'does not tell the size': ['CHECKPOINT_UNREACHABLE', /does not tell/, head({ 'content-range': 'bytes 1000-1999/*' })],
  'tells a size beyond all numbers': [
    'CHECKPOINT_UNREACHABLE',
    /does not tell/,
    head({ 'content-range': `bytes 1000-1999/${'9'.repeat(30)}` }),
  ],
  'compresses what it sends': [
    'CHECKPOINT_UNREACHABLE',
    /compressed \(gzip\)/,
    head({ 'content-range': 'bytes 1000-1999/100000', 'content-encoding': 'gzip' }),
  ],
  'refuses a range that there is': [
    'CHECKPOINT_UNREACHABLE',
    /refuses/,
    head({ 'content-range': 'bytes */100000' }, 416),
  ],
  'sends one elsewhere': ['CHECKPOINT_UNREACHABLE', /answers 302/, head({ location: 'http://127.0.0.1:1/' }, 302)],
  'does not have it': ['NOT_FOUND', /no checkpoint at/, head({}, 404)],
  'does not give it': ['FORBIDDEN', /may not be read/, head({}, 403)],
}

for (const [name, [code, message, misbehave]] of Object.entries(lasting))
  test(`a server that ${name} is asked once`, async () => {
    const { result, attempts } = await readThrough(misbehave)
    assertRefused(result, code, message)
    assert.equal(attempts, 1)
  })

test('a server that is not there', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  const source = new HttpRangeSource(`http://127.0.0.1:${port}/a`, quick)
  assertRefused(await source.readRange(0, 10).catch((error) => error), 'CHECKPOINT_UNREACHABLE', /ECONNREFUSED/)
})

for (const [name, begin] of Object.entries({ answer: false, 'go on': true }))
  test(`a server that does not ${name} is waited for as long as allowed`, async () => {
    const silent: Misbehaviour = (seen, response) => {
      if (!begin) return true
      response.writeHead(206, { 'content-range': `bytes ${seen.first}-${seen.last}/100000` })
      response.write(content.subarray(seen.first, seen.first + 10))
      return true
    }
    const { result, attempts } = await readThrough(times(1, silent), { timeoutMs: 100 })
    assert.ok(Buffer.isBuffer(result) && result.equals(content.subarray(1000, 2000)), String(result))
    assert.equal(attempts, 2)
    const { result: late } = await readThrough(silent, { timeoutMs: 50, attemptCount: 2 })
    assertRefused(late, 'CHECKPOINT_UNREACHABLE', /nothing came for 50 ms/)
  })

test('a slow server that keeps sending is not given up', async () => {
  const slowly: Misbehaviour = (_, response) => {
    response.writeHead(206, { 'content-range': 'bytes 1000-1999/100000', 'content-length': 1000 })
    void (async () => {
      for (let at = 1000; at < 2000; at += 50) {
        response.write(content.subarray(at, at + 50))
        await delay(20)
      }
      response.end()
    })()
    return true
  }
  const { result, attempts } = await readThrough(slowly, { timeoutMs: 300 })
  assert.ok(Buffer.isBuffer(result) && result.equals(content.subarray(1000, 2000)))
  assert.equal(attempts, 1)
})

const exchanges: Record<string, (server: RangeServer) => void> = {
  'another ETag': (server) => {
    server.etag = '"two"'
  },
  'another size': (server) => {
    server.content = Buffer.concat([content, content])
  },
}

for (const [name, exchange] of Object.entries(exchanges))
  test(`a file that has ${name} than before is refused`, async () => {
    await using server = await serveRanges(content)
    const source = new HttpRangeSource(server.url, quick)
    await source.readRange(0, 100)
    exchange(server)
    assertRefused(await source.readRange(0, 100).catch((error) => error), 'CHECKPOINT_DAMAGED', /exchanged for another/)
  })

test('no more requests at once than allowed', async () => {
  await using server = await serveRanges(content)
  let now = 0
  let most = 0
  server.misbehave = (seen, response) => {
    now += 1
    most = Math.max(most, now)
    response.on('close', () => {
      now -= 1
    })
    // Answered when others had the time to come too.
    setTimeout(() => answerRange(server, seen, response), 5)
    return true
  }
  const source = new HttpRangeSource(server.url, { ...quick, parallelCount: 3 })
  const reads = await Promise.all(Array.from({ length: 30 }, (_, index) => source.readRange(index * 10, 10)))
  for (const [index, bytes] of reads.entries()) assert.ok(bytes.equals(content.subarray(index * 10, index * 10 + 10)))
  assert.equal(most, 3)
})

test('who gives up is let go at once: before, in the queue, waiting for an answer, between attempts', async () => {
  await using server = await serveRanges(content)
  const arrived = Promise.withResolvers<void>()
  server.misbehave = () => {
    arrived.resolve()
    return true
  }
  const source = new HttpRangeSource(server.url, { parallelCount: 1 })
  await assert.rejects(source.readRange(0, 10, AbortSignal.abort(new Error('before'))), { message: 'before' })
  const giveUp = new AbortController()
  const waiting = source.readRange(0, 10, giveUp.signal)
  const queued = source.readRange(0, 10, giveUp.signal)
  await arrived.promise
  giveUp.abort(new Error('enough'))
  await assert.rejects(waiting, { message: 'enough' })
  await assert.rejects(queued, { message: 'enough' })
  const between = new AbortController()
  server.misbehave = (_, response) => {
    response.on('close', () => between.abort(new Error('between')))
    return Boolean(response.writeHead(503).end())
  }
  const patient = new HttpRangeSource(server.url, { retryMs: 3_600_000 })
  await assert.rejects(patient.readRange(0, 10, between.signal), { message: 'between' })
  server.misbehave = () => false
  assert.ok((await source.readRange(0, 10)).equals(content.subarray(0, 10)), 'and takes no turn along')
})

for (const url of [
  'file:///etc/passwd',
  'ftp://127.0.0.1/a',
  'a.ckpt',
  'http://',
  'http://me:secret@127.0.0.1/a',
  'data:,x',
])
  test(`${url} is no address of a checkpoint`, () => {
    assert.throws(
      () => new HttpRangeSource(url),
      (error) => isRametError(error, 'INVALID_ARGUMENT') && !error.message.includes('secret'),
    )
  })

test('whatever a server says of its range, the bytes asked for come, or an error', async () => {
  await using server = await serveRanges(content)
  const part = fc.oneof(
    fc.nat(200_000).map(String),
    fc.constantFrom('', '-', '*', '1000', '1999', '100000', '1e3', '9'.repeat(20)),
  )
  const range = fc.tuple(
    fc.constantFrom('bytes ', 'bytes=', 'items ', ''),
    part,
    fc.constantFrom('-', '/', ' '),
    part,
    fc.constantFrom('/', '-', ''),
    part,
  )
  const property = fc.asyncProperty(
    fc.oneof(
      range.map((parts) => parts.join('')),
      fc.constant('bytes 1000-1999/100000'),
    ),
    fc.constantFrom(206, 206, 206, 416, 200, 204, 301, 404, 500, 599),
    fc.nat(1200),
    async (contentRange, status, length) => {
      server.misbehave = (_, response) => {
        response.writeHead(status, { 'content-range': contentRange }).end(content.subarray(1000, 1000 + length))
        return true
      }
      const source = new HttpRangeSource(server.url, { ...quick, attemptCount: 1 })
      const result = await source.readRange(1000, 1000).catch((error: unknown) => error)
      if (Buffer.isBuffer(result)) assert.ok(result.equals(content.subarray(1000, 1000 + result.length)))
      else assert.ok(isRametError(result) && result.code !== 'INTERNAL', String(result))
    },
  )
  await fc.assert(property, { numRuns: 300 })
})

test('a delayed source gives what the other gives, later', async () => {
  for (const delayMs of [0, 0.2, 5]) {
    const source = new DelayedSource(bufferSource(content), delayMs)
    assert.deepEqual([source.name, source.sizeBytes], ['a.checkpoint', content.length])
    const startMs = performance.now()
    const reads = await Promise.all([source.readRange(10, 5), source.readRange(20, 5)])
    assert.ok(performance.now() - startMs >= delayMs)
    assert.deepEqual(reads, [content.subarray(10, 15), content.subarray(20, 25)])
  }
  const giveUp = new AbortController()
  const late = new DelayedSource(bufferSource(content), 3_600_000).readRange(0, 1, giveUp.signal)
  giveUp.abort(new Error('enough'))
  await assert.rejects(late, { message: 'enough' })
})
