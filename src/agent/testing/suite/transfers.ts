import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFile as readHostFile, writeFile as writeHostFile } from 'node:fs/promises'
import { connect, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { listDirectory, makeDirectory, removeFile, renameFile, statFile } from '../../file.ts'
import { readFile, writeFile } from '../../file-transfer.ts'
import { guestErrno } from '../../guest-error.ts'
import { PortForwarder } from '../../port-forwarder.ts'
import { openTunnel } from '../../tunnel.ts'
import { watchPath } from '../../watch.ts'
import { marker } from '../../wire/marker.ts'
import { agentTest, type StartAgent } from './context.ts'

const MiB = 1024 * 1024

/** Files, connections and watches. */
export function transferSuite(agent: string, start: StartAgent): void {
  agentTest(`${agent}: 10 MiB into a file and out again`, start, async ({ open, directory }) => {
    const session = await open()
    const content = randomBytes(10 * MiB)
    marker.copy(content, 65_530)
    const path = join(directory, 'deep/er/content')
    await assert.rejects(writeFile(session, path, [content]), (error) => guestErrno(error) === 'ENOENT')
    assert.deepEqual(await writeFile(session, path, [content], { makeParents: true, mode: 0o640 }), {
      sizeBytes: content.length,
    })
    assert((await readHostFile(path)).equals(content))
    const info = await statFile(session, path)
    assert.deepEqual([info.kind, info.sizeBytes, info.mode], ['file', content.length, 0o640])
    const file = await readFile(session, path)
    assert.equal(file.sizeBytes, content.length)
    assert(Buffer.concat(await Array.fromAsync(file)).equals(content))
    const part = await readFile(session, path, { offset: 5 * MiB, limit: 1000 })
    assert(Buffer.concat(await Array.fromAsync(part)).equals(content.subarray(5 * MiB, 5 * MiB + 1000)))
    await writeFile(session, path, [Buffer.from('more')], { append: true })
    assert.equal((await statFile(session, path)).sizeBytes, content.length + 4)
    const taken = writeFile(session, path, [Buffer.from('x')], { exclusive: true })
    await assert.rejects(taken, (error) => guestErrno(error) === 'EEXIST')
  })

  agentTest(`${agent}: directories`, start, async ({ open, directory }) => {
    const session = await open()
    const path = join(directory, 'files')
    await makeDirectory(session, path)
    for (let index = 0; index < 250; index += 1) await writeHostFile(join(path, `file-${index}`), 'x')
    const all = await listDirectory(session, path)
    assert.equal(all.totalCount, 250)
    assert.equal(new Set(all.entries.map(({ name }) => name)).size, 250)
    assert.equal((await listDirectory(session, path, { offset: 240 })).entries.length, 10)
    await renameFile(session, join(path, 'file-1'), join(path, 'renamed'))
    await assert.rejects(statFile(session, join(path, 'file-1')), (error) => guestErrno(error) === 'ENOENT')
    assert.equal((await statFile(session, join(path, 'renamed'))).sizeBytes, 1)
    await removeFile(session, path, { recursive: true })
    await assert.rejects(statFile(session, path), (error) => guestErrno(error) === 'ENOENT')
  })

  agentTest(`${agent}: a write that is given up leaves nothing`, start, async ({ open, directory }) => {
    const session = await open()
    async function* breaking() {
      yield Buffer.from('half')
      throw new Error('the source broke')
    }
    await assert.rejects(writeFile(session, join(directory, 'half'), breaking()), /the source broke/)
    await session.request('ping')
    const { entries } = await listDirectory(session, directory)
    assert.deepEqual(
      entries.filter(({ kind }) => kind === 'file').map(({ name }) => name),
      [],
    )
  })

  agentTest(`${agent}: a tunnel carries both ways and half-closes`, start, async ({ open }) => {
    const session = await open()
    await using server = await listen()
    const tunnel = await openTunnel(session, server.port)
    const content = randomBytes(3 * MiB)
    marker.copy(content, 100)
    const echoed = buffer(tunnel)
    tunnel.end(content)
    assert((await echoed).equals(content))
    const port = server.port
    await server[Symbol.asyncDispose]()
    await assert.rejects(openTunnel(session, port), (error) => guestErrno(error) === 'ECONNREFUSED')
  })

  agentTest(`${agent}: a published port`, start, async ({ open }) => {
    const session = await open()
    await using server = await listen()
    await using forwarder = await PortForwarder.listen({ session: () => session, guestPort: server.port })
    const contents = Array.from({ length: 5 }, () => randomBytes(200_000))
    const answers = contents.map(async (content) => {
      const socket = connect({ port: forwarder.hostPort, host: forwarder.hostAddress })
      await once(socket, 'connect')
      socket.end(content)
      return buffer(socket)
    })
    for (const [index, answer] of (await Promise.all(answers)).entries()) assert(contents[index]?.equals(answer))
  })

  agentTest(`${agent}: a watch tells of changes until it is left`, start, async ({ open, directory }) => {
    const session = await open()
    const path = join(directory, 'watched')
    await makeDirectory(session, path)
    const watch = await watchPath(session, path)
    await writeHostFile(join(path, 'new'), 'x')
    for await (const event of watch) {
      assert.equal(event.path, join(path, 'new'))
      break
    }
    await session.request('ping')
    assert.equal(session.streamCount, 0)
  })
}

/** A TCP server of this host that sends back what it gets, and ends when the other side does. */
async function listen(): Promise<AsyncDisposable & { port: number }> {
  const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {})
    socket.pipe(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const bound = server.address()
  const port = typeof bound === 'object' && bound !== null ? bound.port : 0
  return {
    port,
    [Symbol.asyncDispose]: async () => {
      if (server.listening) await new Promise((resolve) => server.close(resolve))
    },
  }
}
