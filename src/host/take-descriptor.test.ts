import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fstatSync } from 'node:fs'
import { createServer, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { test } from 'node:test'
import { identify } from './process-identity.ts'
import { takeSocket } from './take-descriptor.ts'

/** Connects, says which socket that is, and has nothing more to do with it. */
const program = `
const socket = require('net').connect(process.argv[1], () => {
  process.stdout.write(String(require('fs').fstatSync(socket._handle.fd, { bigint: true }).ino) + '\\n')
})
setInterval(() => {}, 1 << 30)
`

test('a socket that another process holds can be spoken through, and outlives its holder', async () => {
  const path = join(tmpdir(), `ramet-take-${process.pid}.sock`)
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(path, resolve))
  const accepted = once(server, 'connection')
  const child = spawn(process.execPath, ['-e', program, path], { stdio: ['ignore', 'pipe', 'inherit'] })
  try {
    const [line] = await once(child.stdout, 'data')
    const [far] = (await accepted) as [Socket]
    const identity = identify(child.pid ?? 0)
    assert.ok(identity !== undefined)
    const inode = BigInt(String(line).trim())
    assert.equal(takeSocket(identity, inode + 1n), undefined, 'one that it does not have')
    const fd = takeSocket(identity, inode)
    assert.ok(fd !== undefined)
    assert.equal(fstatSync(fd, { bigint: true }).ino, inode)
    child.kill('SIGKILL')
    await once(child, 'exit')
    const near = new Socket({ fd })
    far.write('there')
    assert.equal(String((await once(near, 'data'))[0]), 'there')
    near.write('back')
    assert.equal(String((await once(far, 'data'))[0]), 'back')
    near.destroy()
    far.destroy()
    assert.equal(takeSocket(identity, inode), undefined, 'of a process that has ended')
  } finally {
    child.kill('SIGKILL')
    server.close()
  }
})
