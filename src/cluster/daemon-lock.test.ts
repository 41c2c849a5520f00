import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { isRametError } from '../shared/errors.ts'
import { lockDaemon } from './daemon-lock.ts'

const identity = { pid: process.pid, since: '2026-01-01T00:00:00Z', version: '0.1.0' }

const holder = `
  import { lockDaemon } from '${import.meta.resolve('./daemon-lock.ts')}'
  lockDaemon(process.argv[1], { pid: process.pid, since: '', version: '0' })
  console.log('locked')
  setInterval(() => {}, 1000)
`

test('a second daemon is refused with the pid of the first, until that one is gone, however it went', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'ramet-lock-'))
  const child = spawn(process.execPath, ['--input-type=module', '-e', holder, directory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  try {
    await once(child.stdout, 'data')
    assert.throws(
      () => lockDaemon(directory, identity),
      (error) => isRametError(error, 'DAEMON_RUNNING') && error.message.includes(`pid ${child.pid}`),
    )
    const closed = once(child, 'close')
    child.kill('SIGKILL')
    await closed
    const lock = lockDaemon(directory, identity)
    assert.throws(
      () => lockDaemon(directory, identity),
      (error) => isRametError(error, 'DAEMON_RUNNING') && error.details.pid === process.pid,
    )
    lock.release()
    lock.release()
    lockDaemon(directory, identity).release()
  } finally {
    child.kill('SIGKILL')
    rmSync(directory, { recursive: true })
  }
})
