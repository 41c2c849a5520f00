import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { isRametError } from '../shared/errors.ts'
import { peerPid, requirePeer } from './peer.ts'
import { identify } from './process-identity.ts'

describe('the peer of a unix socket', () => {
  let dir: string
  let path: string
  let server: Server
  let socket: Socket

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'ramet-peer-'))
    path = join(dir, 'socket')
    server = createServer()
    await new Promise<void>((resolve) => server.listen(path, resolve))
    socket = connect(path)
    await new Promise<void>((resolve) => socket.once('connect', resolve))
  })
  after(async () => {
    socket.destroy()
    server.close()
    await rm(dir, { recursive: true, force: true })
  })

  it('is the process that listens', () => {
    assert.equal(peerPid(socket), process.pid)
    const own = identify(process.pid)
    assert.ok(own)
    requirePeer(socket, own, path)
  })

  it('is refused when it is another process, or an earlier one of its pid', async () => {
    const child = spawn('sleep', ['60'])
    const other = identify(child.pid ?? 0)
    assert.ok(other)
    const isRefused = (error: unknown) => isRametError(error, 'VMM_FAILED')
    assert.throws(() => requirePeer(socket, other, path), isRefused)
    child.kill('SIGKILL')
    await new Promise((resolve) => child.once('exit', resolve))
    const own = identify(process.pid)
    assert.ok(own)
    assert.throws(() => requirePeer(socket, { ...own, startTime: own.startTime - 1 }, path), isRefused)
  })

  it('cannot be told of a socket that is gone', () => {
    const gone = connect(path)
    gone.destroy()
    assert.throws(
      () => peerPid(gone),
      (error: unknown) => isRametError(error, 'INTERNAL'),
    )
  })
})
