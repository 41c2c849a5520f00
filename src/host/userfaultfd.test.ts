import assert from 'node:assert/strict'
import { chmodSync, closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { readSetting } from './probe-memory.ts'
import { signalProcess, waitForExit } from './process-identity.ts'
import { runCommand } from './run-command.ts'
import { spawnDetached } from './spawn-detached.ts'
import { offerUserfaultfd, type UserfaultfdLoan } from './userfaultfd.ts'

const deviceNumber = 5
const libraryNumber = 6
const root = process.geteuid?.() === 0
const offered = await offerUserfaultfd(deviceNumber)
const user = { uid: 1_900_900_001, gid: 1_900_900_001 }
const other = { uid: 1_900_900_002, gid: 1_900_900_002 }

test('the offer is a loan, or says why there is none', () => {
  if ('why' in offered) assert.match(offered.why, /userfaultfd/)
  else assert.ok(offered.deviceFd >= 0 && offered.libraryFd >= 0)
})

test('whoever is lent userfaultfd can use it, and nothing else', { skip: !root || 'why' in offered }, async (t) => {
  assert.ok(!('why' in offered))
  const directory = mkdtempSync(join(tmpdir(), 'ramet-intruder-'))
  t.after(() => rmSync(directory, { recursive: true }))
  chmodSync(directory, 0o755)
  const socketPath = join(directory, 'daemon.sock')
  const server = createServer().listen(socketPath)
  t.after(() => server.close())
  await new Promise((resolve) => server.once('listening', resolve))
  chmodSync(socketPath, 0o777)
  writeFileSync(join(directory, 'secret'), 'secret', { mode: 0o600 })
  const secretFd = openSync(join(directory, 'secret'), 'r')
  t.after(() => closeSync(secretFd))
  const bystander = await spawnDetached({ command: '/bin/sleep', args: ['60'], user: other })
  t.after(async () => {
    signalProcess(bystander.identity, 'SIGKILL')
    await waitForExit(bystander.identity)
  })
  const program = await compile(directory)
  const args = [process.pid, socketPath, secretFd, bystander.identity.pid].map(String)
  const lent = await outcomes(program, args, offered)
  const without = await outcomes(program, args, undefined)
  assert.equal(lent.userfaultfd, 'done')
  if (readSetting('/proc/sys/vm/unprivileged_userfaultfd') === '0')
    assert.equal(without.userfaultfd, 'Operation not permitted', 'it is the loan that lets it')
  assert.equal(lent['another call'], 'done', 'other calls pass through')
  assert.equal(lent['a call that fails'], 'Bad file descriptor', 'with their errors')
  assert.equal(lent['library written'], 'Operation not permitted', 'what others load cannot be changed')
  assert.equal(lent['library mapped'], 'Operation not permitted')
  const trespasses = Object.entries(lent).filter(([what]) => / of (the daemon|another)$/.test(what))
  assert.equal(trespasses.length, 20)
  const harmless = new Set(['handle of the daemon'])
  const done = trespasses.filter(([what, outcome]) => outcome === 'done' && !harmless.has(what))
  assert.deepEqual(done, [], 'no other process is within reach')
  for (const [what, outcome] of trespasses) assert.equal(outcome, without[what], `${what}: as without the loan`)
})

async function compile(directory: string): Promise<string> {
  const output = join(directory, 'intruder')
  const source = fileURLToPath(new URL('testing/intruder.c', import.meta.url))
  const define = `-DRAMET_LIBRARY=${libraryNumber}`
  const { exitCode, stderr } = await runCommand('cc', ['-O1', '-Wall', '-Werror', define, '-o', output, source])
  assert.equal(exitCode, 0, stderr)
  return output
}

/** Runs the program as a vm's user, as a QEMU is started. */
async function outcomes(program: string, args: string[], loan: UserfaultfdLoan | undefined) {
  const { streams } = await spawnDetached({
    command: program,
    args,
    user,
    stdio: ['ignore', 'pipe', 'ignore', 'ignore', 'ignore', ...(loan ? [loan.deviceFd, loan.libraryFd] : [])],
    ...(loan && { env: { LD_PRELOAD: `/proc/self/fd/${libraryNumber}` } }),
  })
  let text = ''
  for await (const chunk of streams[1] ?? []) text += chunk
  return Object.fromEntries(
    text
      .trim()
      .split('\n')
      .map((line) => line.split(': ') as [string, string]),
  )
}
