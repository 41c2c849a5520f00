import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { signalProcess, waitForExit } from './process-identity.ts'
import { processesIn } from './processes-in.ts'
import { spawnDetached } from './spawn-detached.ts'
import { waitForPath } from './wait-for-path.ts'

function temporary(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'ramet-cwd-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

test('a process is found by its working directory, also after that was removed', async (t) => {
  const directory = temporary(t)
  assert.deepEqual(processesIn(directory), [])
  const { identity } = await spawnDetached({ command: '/bin/sleep', args: ['60'], cwd: directory })
  assert.deepEqual(processesIn(directory), [identity])
  rmSync(directory, { recursive: true })
  assert.deepEqual(processesIn(directory), [identity])
  signalProcess(identity, 'SIGKILL')
  await waitForExit(identity)
  assert.deepEqual(processesIn(directory), [])
})

test('a path is waited for until it appears, the time is over, or nobody wants it any more', async (t) => {
  const directory = temporary(t)
  const path = join(directory, 'socket')
  await assert.rejects(waitForPath(path, 20), { code: 'TIMEOUT' })
  const abort = new AbortController()
  const abandoned = waitForPath(path, 10_000, abort.signal)
  abort.abort(new Error('enough'))
  await assert.rejects(abandoned, { message: 'enough' })
  const waiting = waitForPath(path, 10_000)
  writeFileSync(path, '')
  await waiting
  await waitForPath(path, 1)
})

test('somebody who looks at the directory from a terminal is left alone', async (t) => {
  const directory = temporary(t)
  // `script` gives what it starts a terminal of its own.
  const { identity } = await spawnDetached({
    command: 'script',
    args: ['--quiet', '--return', '--command', 'echo > there; exec sleep 60', '/dev/null'],
    cwd: directory,
  })
  await waitForPath(join(directory, 'there'), 10_000)
  const found = processesIn(directory)
  assert.deepEqual(found, [identity], 'not the shell at the terminal')
  signalProcess(identity, 'SIGKILL')
  await waitForExit(identity)
})
