import assert from 'node:assert/strict'
import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { isRametError } from '../shared/errors.ts'
import { silentLog } from '../shared/log.ts'
import { memoryIdempotencyStore } from './idempotency.ts'
import { startServer } from './server.ts'
import { FakeEngine } from './testing/fake-engine.ts'
import { Harness } from './testing/harness.ts'
import { readOrMakeToken } from './token.ts'
import { placeSocket } from './unix-socket.ts'

async function inFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'ramet-socket-'))
  try {
    await work(folder)
  } finally {
    await rm(folder, { recursive: true })
  }
}

test('the socket is its owner’s alone, and goes with the server', () =>
  inFolder(async (folder) => {
    {
      await using _harness = await Harness.start({ folder })
      assert.equal((await stat(join(folder, 'api.sock'))).mode & 0o777, 0o600)
      assert.deepEqual(await readdir(folder), ['api.sock'])
    }
    assert.deepEqual(await readdir(folder), [])
  }))

test('what a dead daemon left is replaced, a living one is not', () =>
  inFolder(async (folder) => {
    await writeFile(join(folder, 'api.sock'), '')
    await using harness = await Harness.start({ folder })
    await assert.rejects(Harness.start({ folder }), (error) => isRametError(error, 'IN_USE'))
    assert.equal((await harness.call('GET', '/healthz')).status, 200)
    assert.deepEqual(await readdir(folder), ['api.sock'])
  }))

test('a socket that another daemon has placed since is not removed', () =>
  inFolder(async (folder) => {
    const path = join(folder, 's')
    const server = createServer()
    const remove = await placeSocket({ path }, (hidden) => new Promise((done) => server.listen(hidden, () => done(0))))
    await rm(path)
    await writeFile(path, 'other')
    await remove()
    await new Promise((done) => server.close(done))
    assert.deepEqual(await readdir(folder), ['s'])
  }))

test('a path that is too long for a socket is refused in words', () =>
  inFolder(async (folder) => {
    const long = join(folder, 'x'.repeat(100))
    await assert.rejects(
      placeSocket({ path: long }, () => Promise.resolve()),
      (error) => isRametError(error, 'INVALID_ARGUMENT'),
    )
    assert.deepEqual(await readdir(folder), [])
  }))

test('HTTP is served on loopback only, and what was begun is undone', () =>
  inFolder(async (folder) => {
    await assert.rejects(
      startServer({
        engine: new FakeEngine(),
        socketPath: join(folder, 'api.sock'),
        http: { host: '0.0.0.0', port: 0, token: 'x' },
        log: silentLog,
        idempotency: memoryIdempotencyStore(),
      }),
      (error) => isRametError(error, 'INVALID_ARGUMENT'),
    )
    assert.deepEqual(await readdir(folder), [])
  }))

test('the token is made once, kept, and must be its owner’s alone', () =>
  inFolder(async (folder) => {
    const path = join(folder, 'token')
    const [first, second] = await Promise.all([readOrMakeToken(path), readOrMakeToken(path)])
    assert.equal(first, second)
    assert.ok(first.length >= 43)
    assert.equal((await stat(path)).mode & 0o777, 0o600)
    assert.deepEqual(await readdir(folder), ['token'])
    await writeFile(path, 'short\n')
    await assert.rejects(readOrMakeToken(path), (error) => isRametError(error, 'INVALID_ARGUMENT'))
    const open = join(folder, 'open')
    await writeFile(open, `${first}\n`, { mode: 0o644 })
    await assert.rejects(readOrMakeToken(open), (error) => isRametError(error, 'FORBIDDEN'))
  }))
