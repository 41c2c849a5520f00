import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { limitSendBuffer, unreadBytes } from './socket-queue.ts'

test('what the peer has not read is told, and the kernel takes no more than the limit', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'ramet-queue-'))
  const server = createServer({ pauseOnConnect: true })
  server.listen(join(directory, 'socket'))
  await once(server, 'listening')
  const accepted = once(server, 'connection')
  const socket = connect(join(directory, 'socket'))
  await once(socket, 'connect')
  const [peer] = await accepted
  try {
    limitSendBuffer(socket, 16 * 1024)
    assert.equal(unreadBytes(socket), 0)
    socket.write(Buffer.alloc(4096))
    assert.ok(unreadBytes(socket) >= 4096)
    const written = new Promise((resolve) => socket.write(Buffer.alloc(1024 * 1024), resolve))
    assert.ok(socket.writableLength > 0, 'the rest waits here')
    assert.ok(unreadBytes(socket) <= 64 * 1024)
    peer.resume()
    await written
  } finally {
    socket.destroy()
    peer.destroy()
    server.close()
    rmSync(directory, { recursive: true })
  }
  assert.equal(unreadBytes(socket), 0)
})
