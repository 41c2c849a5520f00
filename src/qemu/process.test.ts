import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { isRunning, type ProcessIdentity } from '../host/process-identity.ts'
import { isRametError } from '../shared/errors.ts'
import { capLog, logTail } from './qemu-log.ts'
import { GuestFixture } from './testing/guest-fixture.ts'

test('a QEMU that dies at start is an error with the end of its log', async () => {
  await using fixture = new GuestFixture()
  const seat = fixture.seat({ boot: { kind: 'firmware', biosPath: '/nonexistent/firmware.bin' } })
  await assert.rejects(fixture.start(seat), (error) => {
    assert.ok(isRametError(error, 'VMM_FAILED'), String(error))
    assert.match(error.message, /exit code 1.*could not load PC BIOS '\/nonexistent\/firmware.bin'/)
    assert.ok(Array.isArray(error.details.log) && error.details.log.length > 0)
    return true
  })
})

test('a start that is aborted leaves no process', async () => {
  await using fixture = new GuestFixture()
  const stop = new AbortController()
  const seen = Promise.withResolvers<ProcessIdentity>()
  const onSpawn = (identity: ProcessIdentity) => {
    seen.resolve(identity)
    stop.abort(new Error('enough'))
  }
  await assert.rejects(fixture.start(fixture.seat(), { signal: stop.signal, onSpawn }), /enough/)
  const identity = await seen.promise
  assert.equal(isRunning(identity), false)
})

test('a base without its descriptor, and a descriptor without a base, are refused', async () => {
  await using fixture = new GuestFixture()
  await assert.rejects(fixture.start(fixture.seat({ memory: { kind: 'base' } })), { code: 'INVALID_ARGUMENT' })
  await assert.rejects(fixture.start(fixture.seat(), { memoryFd: 0 }), { code: 'INVALID_ARGUMENT' })
})

test('a missing program is told as such', async () => {
  await using fixture = new GuestFixture()
  await assert.rejects(fixture.start(fixture.seat(), { binary: 'no-such-qemu' }), { code: 'HOST_UNFIT' })
})

test('killed from outside: the end is seen, and what waits for QMP ends', async () => {
  await using fixture = new GuestFixture()
  const qemu = await fixture.start()
  const event = qemu.qmp.waitEvent('NEVER')
  process.kill(qemu.identity.pid, 'SIGKILL')
  await assert.rejects(event, { code: 'QMP_FAILED' })
  assert.deepEqual(await qemu.ended, { signal: 'SIGKILL' })
})

test('a QEMU that hangs is ended by force', async () => {
  await using fixture = new GuestFixture()
  const qemu = await fixture.start()
  process.kill(qemu.identity.pid, 'SIGSTOP')
  await assert.rejects(qemu.qmp.execute('query-status', undefined, { timeoutMs: 30 }), { code: 'QMP_FAILED' })
  assert.deepEqual(await qemu.quit(50), { signal: 'SIGKILL' })
})

test('the log is bounded and printable', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'ramet-log-'))
  t.after(() => rmSync(dir, { recursive: true }))
  assert.deepEqual(logTail(dir), [])
  const lines = Array.from({ length: 5000 }, (_, n) => `line ${n} \u001b[31mred`)
  writeFileSync(join(dir, 'qemu.log'), `${lines.join('\n')}\nx: warning: hub 0 is not connected to host network\n`)
  assert.deepEqual(logTail(dir, 2), ['line 4998 [31mred', 'line 4999 [31mred'])
  assert.equal(capLog(dir, 1024 * 1024), false)
  assert.equal(capLog(dir, 1024), true)
  assert.equal(statSync(join(dir, 'qemu.log')).size, 0)
})
