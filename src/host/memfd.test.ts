import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { closeSync, fstatSync, ftruncateSync, readSync, writeSync } from 'node:fs'
import { test } from 'node:test'
import {
  allocatedBytes,
  createMemfd,
  immutableSeals,
  memfdName,
  openDescriptorOf,
  punchHole,
  reserveSpace,
  sealFile,
  sealsOf,
} from './memfd.ts'

const MiB = 1024 * 1024

test('reserving allocates, punching gives back', () => {
  const fd = createMemfd('ramet-test-reserve', 4 * MiB)
  assert.equal(allocatedBytes(fd), 0)
  reserveSpace(fd, 0, 4 * MiB)
  assert.equal(allocatedBytes(fd), 4 * MiB)
  punchHole(fd, MiB, MiB)
  assert.equal(allocatedBytes(fd), 3 * MiB)
  closeSync(fd)
})

test('a sealed file cannot be written, punched, resized, nor unsealed, through any descriptor', () => {
  const fd = createMemfd('ramet-test-sealed', MiB)
  writeSync(fd, 'content', 0)
  sealFile(fd, immutableSeals)
  assert.equal(sealsOf(fd), immutableSeals)
  const other = openDescriptorOf('self', fd, 'r+')
  for (const target of [fd, other]) {
    assert.throws(() => writeSync(target, 'x', 0), { code: 'EPERM' })
    assert.throws(() => punchHole(target, 0, 4096), { code: 'EPERM' })
    assert.throws(() => ftruncateSync(target, 0), { code: 'EPERM' })
    assert.throws(() => ftruncateSync(target, 2 * MiB), { code: 'EPERM' })
    assert.throws(() => sealFile(target, 0), { code: 'EPERM' })
  }
  const bytes = Buffer.alloc(7)
  readSync(other, bytes, 0, 7, 0)
  assert.equal(bytes.toString(), 'content')
  assert.equal(memfdName(`/proc/self/fd/${fd}`), 'ramet-test-sealed')
  closeSync(fd)
  closeSync(other)
})

test('another user opens an inherited memory file for writing, yet can neither write nor punch it', () => {
  const fd = createMemfd('ramet-test-user', MiB)
  writeSync(fd, 'content', 0)
  sealFile(fd, immutableSeals)
  assert.equal(fstatSync(fd).mode & 0o777, 0o777)
  const script = `
    const { openSync, writeSync, readSync } = require('node:fs')
    const code = (run) => { try { run(); return 'allowed' } catch (error) { return error.code } }
    const fd = openSync('/proc/self/fd/3', 'r+')
    const bytes = Buffer.alloc(7); readSync(fd, bytes, 0, 7, 0)
    console.log(JSON.stringify([process.getuid(), String(bytes), code(() => writeSync(fd, 'x', 0)), code(() => writeSync(3, 'x', 0))]))`
  const user = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {}
  const run = spawnSync(process.execPath, ['-e', script], {
    ...user,
    cwd: '/',
    stdio: ['ignore', 'pipe', 'inherit', fd],
  })
  assert.deepEqual(JSON.parse(String(run.stdout)), [user.uid ?? process.getuid?.(), 'content', 'EPERM', 'EPERM'])
  const punch = spawnSync('fallocate', ['--punch-hole', '--length', '4096', '/proc/self/fd/3'], {
    ...user,
    stdio: ['ignore', 'ignore', 'pipe', fd],
  })
  assert.notEqual(punch.status, 0)
  assert.match(String(punch.stderr), /not permitted/i)
  assert.equal(allocatedBytes(fd), 4096)
  closeSync(fd)
})
