import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { identify, isIdentity, isRunning, parseStat, signalProcess, waitForExit } from './process-identity.ts'

function sleeper() {
  const child = spawn('/bin/sleep', ['60'], { stdio: 'ignore' })
  const pid = child.pid
  assert.ok(pid)
  const identity = identify(pid)
  assert.ok(identity)
  return { child, identity }
}

test('a command with blanks and parentheses does not shift the fields', () => {
  const fields = Array.from({ length: 50 }, (_, index) => String(index + 4)).join(' ')
  assert.deepEqual(parseStat(`42 (a) b (c)) S ${fields}\n`), {
    state: 'S',
    parentPid: 4,
    startTime: 22,
    cpuMs: 290,
    hasTerminal: true,
  })
  assert.throws(() => parseStat('42 (sh'), { code: 'INTERNAL' })
})

test('only what names a process whole is an identity', () => {
  const identity = { pid: 1, startTime: 2, bootId: 'b' }
  assert.ok(isIdentity(identity))
  for (const partial of [undefined, null, 'pid', {}, { pid: 1, startTime: 2 }, { startTime: 2, bootId: 'b' }])
    assert.equal(isIdentity(partial), false)
})

test('a process is running until it is killed, and waiting for it needs no polling', async () => {
  const { child, identity } = sleeper()
  assert.equal(isRunning(identity), true)
  const waiting = waitForExit(identity)
  assert.equal(signalProcess(identity, 'SIGKILL'), true)
  await waiting
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  assert.equal(isRunning(identity), false)
  assert.equal(signalProcess(identity, 'SIGKILL'), false)
  await waitForExit(identity)
})

test('another start time or another boot is another process, and is never signalled', async () => {
  const { child, identity } = sleeper()
  for (const stranger of [
    { ...identity, startTime: identity.startTime - 1 },
    { ...identity, bootId: 'another boot' },
  ]) {
    assert.equal(isRunning(stranger), false)
    assert.equal(signalProcess(stranger, 'SIGKILL'), false)
    await waitForExit(stranger)
  }
  assert.equal(isRunning(identity), true)
  child.kill('SIGKILL')
  await once(child, 'exit')
})

test('waiting can be aborted', async () => {
  const { child, identity } = sleeper()
  const abort = new AbortController()
  const waiting = waitForExit(identity, abort.signal)
  abort.abort(new Error('enough'))
  await assert.rejects(waiting, { message: 'enough' })
  await assert.rejects(waitForExit(identity, abort.signal), { message: 'enough' })
  child.kill('SIGKILL')
  await once(child, 'exit')
})

test('a zombie has ended, and a process of another parent can be waited for', async () => {
  // The shell's child is not ours; the shell ends only after it.
  const shell = spawn('/bin/sh', ['-c', 'sleep 60 & echo $!; wait'], { stdio: ['ignore', 'pipe', 'ignore'] })
  const [line] = await once(shell.stdout, 'data')
  const identity = identify(Number(String(line)))
  assert.ok(identity)
  const waiting = waitForExit(identity)
  signalProcess(identity, 'SIGKILL')
  await waiting
  assert.equal(isRunning(identity), false)
  await once(shell, 'exit')
})
