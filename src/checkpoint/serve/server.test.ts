import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, statSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import process from 'node:process'
import { test } from 'node:test'
import { identify, type ProcessIdentity, signalProcess, waitForExit } from '../../host/process-identity.ts'
import type { OpportunisticCache } from '../../opportunistic/cache.ts'
import { LruCache } from '../../opportunistic/lru-cache.ts'
import { limits } from '../../shared/limits.ts'
import { silentLog } from '../../shared/log.ts'
import { withDirectory } from '../file/testing/sample.ts'
import { cachedBlockBytes } from './block-cache-size.ts'
import { PageServerClient } from './client.ts'
import { ensurePageServer } from './ensure.ts'
import { type RestoreRequest, socketName } from './protocol.ts'
import { PageServer } from './server.ts'

const own = identify(process.pid)
assert.ok(own !== undefined)

const request: RestoreRequest = {
  ...{ restoreId: 'r', vmName: 'v', checkpoint: { path: '/nowhere/a.ckpt' }, digest: 'a'.repeat(64) },
  ...{ qemuSocket: '/nowhere/restore.sock', qemuProcess: own, policy: 'auto', fill: 'paced' },
  ...{ workingSetPath: null, storeDelayMs: 0, takeOver: false },
}

async function withServer(
  work: (socketPath: string, server: PageServer, cache: OpportunisticCache) => Promise<void>,
  idleMs = 60_000,
) {
  await withDirectory(async (directory) => {
    const socketPath = join(directory, socketName)
    const cache = new LruCache({ capacityBytes: 128 * cachedBlockBytes, blockBytes: cachedBlockBytes })
    const server = new PageServer({ socketPath, log: silentLog, cache, idleMs })
    try {
      await server.listen()
      await work(socketPath, server, cache)
    } finally {
      await server.close()
    }
  })
}

async function connected(socketPath: string): Promise<PageServerClient> {
  const client = await PageServerClient.connect(socketPath)
  assert.ok(client !== undefined)
  return client
}

test('a restore that cannot begin is refused with a reason, and is not there afterwards', async () => {
  await withServer(async (socketPath) => {
    const client = await connected(socketPath)
    await assert.rejects(client.prepare(request), { code: 'NOT_FOUND' })
    await assert.rejects(client.serve(request), { code: 'NOT_FOUND' })
    assert.deepEqual(await client.list(), [])
    await assert.rejects(client.hurry('r'), { code: 'NOT_FOUND' })
    await assert.rejects(client.mark('r', 'moment'), { code: 'NOT_FOUND' })
    await client.drop('r')
    client.close()
    await client.closed
  })
})

test('the cache is told of, and gives back what it is asked for', async () => {
  await withServer(async (socketPath, _, cache) => {
    const client = await connected(socketPath)
    const capacityBytes = 128 * cachedBlockBytes
    const { lazyFreeBytes = 0, ...empty } = await client.cache()
    assert.ok(lazyFreeBytes >= 0)
    assert.deepEqual(empty, { kind: 'lru', ...cache.figures() })
    assert.deepEqual([empty.heldBytes, empty.capacityBytes], [0, capacityBytes])
    for (let key = 0; key < 4; key += 1) cache.put(key, Buffer.alloc(cachedBlockBytes))
    cache.read(1, Buffer.alloc(cachedBlockBytes))
    const { hits, puts, heldBytes } = await client.cache()
    assert.deepEqual([hits, puts, heldBytes], [1, 4, 4 * cachedBlockBytes])
    assert.equal(await client.giveBack(0), 0)
    // More than it has: what it has, and then it ends.
    assert.equal(await client.giveBack(2 ** 40), capacityBytes)
    assert.equal((await client.cache()).heldBytes, 0)
    client.close()
  })
})

test('what is no request is answered as such, and harms nobody else', async () => {
  await withServer(async (socketPath) => {
    const socket = connect(socketPath)
    socket.write('nothing\n{"id":7,"do":"nothing"}\n')
    let text = ''
    while (text.split('\n').length < 3) text += String((await once(socket, 'data'))[0])
    const answers = text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    assert.deepEqual(
      answers.map(({ id, ok, error }) => [id, ok, error.code]),
      [
        [0, false, 'INVALID_ARGUMENT'],
        [7, false, 'INVALID_ARGUMENT'],
      ],
    )
    socket.destroy()
    const client = await connected(socketPath)
    assert.deepEqual(await client.list(), [])
    client.close()
  })
})

test('a line without an end is cut off', async () => {
  await withServer(async (socketPath) => {
    const socket = connect(socketPath)
    socket.on('error', () => {})
    const closed = once(socket, 'close')
    socket.write(Buffer.alloc(limits.pageServerLineBytes + 1, 0x20))
    await closed
  })
})

test('a server that nobody needs for a while says so, but not while there is a client', async (context) => {
  context.mock.timers.enable({ apis: ['setTimeout'] })
  await withServer(async (socketPath, server) => {
    const client = await connected(socketPath)
    let isIdle = false
    const idle = server.idle.then(() => {
      isIdle = true
    })
    context.mock.timers.tick(2 * limits.pageServerIdleMs)
    await client.list()
    assert.equal(isIdle, false)
    // From here on time is real.
    context.mock.timers.reset()
    client.close()
    await idle
  }, 1)
})

test('who waits for an answer is told when the server dies', async () => {
  await withServer(async (socketPath, server) => {
    const client = await connected(socketPath)
    const asked = client.list()
    const lost = assert.rejects(asked, { code: 'DAEMON_UNREACHABLE' })
    await Promise.all([server.close(), lost.catch(() => {})])
    await client.closed
    await assert.rejects(client.list(), { code: 'DAEMON_UNREACHABLE' })
    assert.equal(await PageServerClient.connect(socketPath), undefined)
  })
})

/** Servers as processes, all ended after it. */
async function withDataDir(
  work: (dataDir: string, ensure: () => Promise<PageServerClient>, started: ProcessIdentity[]) => Promise<void>,
) {
  await withDirectory(async (dataDir) => {
    const started: ProcessIdentity[] = []
    const clients: PageServerClient[] = []
    const ensure = async () => {
      const client = await ensurePageServer({ dataDir, onSpawn: (identity) => void started.push(identity) })
      clients.push(client)
      return client
    }
    try {
      await work(dataDir, ensure, started)
    } finally {
      for (const client of clients) client.close()
      for (const identity of started) {
        signalProcess(identity, 'SIGKILL')
        await waitForExit(identity)
      }
    }
  })
}

test('several that need a server at once get the same one, and nobody else can connect to it', async () => {
  await withDataDir(async (dataDir, ensure, started) => {
    const clients = await Promise.all([ensure(), ensure(), ensure()])
    const pids = new Set(clients.map(({ pid }) => pid))
    assert.equal(pids.size, 1)
    assert.equal(statSync(join(dataDir, socketName)).mode & 0o777, 0o600)
    for (const identity of started) if (!pids.has(identity.pid)) await waitForExit(identity)
    // One more finds it there, and starts none.
    const before = started.length
    assert.ok(pids.has((await ensure()).pid))
    assert.equal(started.length, before)
  })
})

test('a server that is told to end does, and the next one takes its place', async () => {
  await withDataDir(async (dataDir, ensure, started) => {
    const client = await ensure()
    const [first] = started
    assert.ok(first !== undefined)
    signalProcess(first, 'SIGTERM')
    await client.closed
    await waitForExit(first)
    assert.equal(existsSync(join(dataDir, socketName)), false)
    const next = await ensure()
    assert.notEqual(next.pid, first.pid)
    // One that was killed leaves its socket, which stops nobody.
    const second = identify(next.pid)
    assert.ok(second !== undefined)
    signalProcess(second, 'SIGKILL')
    await next.closed
    assert.equal(existsSync(join(dataDir, socketName)), true)
    assert.notEqual((await ensure()).pid, second.pid)
  })
})

test('a server that cannot come up says why', async () => {
  await withDirectory(async (directory) => {
    const dataDir = join(directory, 'file')
    writeFileSync(dataDir, '')
    await assert.rejects(ensurePageServer({ dataDir }), { code: 'ENOTDIR' })
  })
})
