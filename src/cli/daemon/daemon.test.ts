import assert from 'node:assert/strict'
import { existsSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { RametApiError } from '../../client/index.ts'
import { runCli } from '../testing/run-cli.ts'
import { askReadiness } from './ready.ts'
import { ensureDaemon } from './start.ts'
import { daemonPid, stopDaemon } from './stop.ts'
import { systemdUnit, unitPath } from './systemd-unit.ts'

const program = fileURLToPath(new URL('testing/fake-daemon.ts', import.meta.url))
const { signal } = new AbortController()

async function withFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const parent = await mkdtemp(join(tmpdir(), 'ramet-serve-'))
  const folder = join(parent, 'data')
  try {
    await work(folder)
  } finally {
    const pid = daemonPid(folder)
    if (pid !== undefined && existsSync(`/proc/${pid}`)) process.kill(pid, 'SIGKILL')
    await rm(parent, { recursive: true, force: true })
  }
}

test('a daemon is started when none runs, and only then', async () => {
  await withFolder(async (dataDirectory) => {
    const started: number[] = []
    const options = { dataDirectory, program, signal, onStarted: (pid: number) => void started.push(pid) }
    await ensureDaemon(options)
    assert.deepEqual(started, [daemonPid(dataDirectory)])
    await ensureDaemon(options)
    assert.equal(started.length, 1)
    assert.equal(await askReadiness(join(dataDirectory, 'ramet.sock')), 'ready')
    assert.equal(await stopDaemon(dataDirectory, { signal }), started[0])
    assert.equal(await stopDaemon(dataDirectory, { signal }), undefined)
    assert.equal(await askReadiness(join(dataDirectory, 'ramet.sock')), 'absent')
  })
})

test('several that start one at once end up with one', async () => {
  await withFolder(async (dataDirectory) => {
    const started: number[] = []
    const one = () => ensureDaemon({ dataDirectory, program, signal, onStarted: (pid) => void started.push(pid) })
    await Promise.all([one(), one(), one()])
    assert.deepEqual(started, [daemonPid(dataDirectory)])
    await stopDaemon(dataDirectory, { signal })
  })
})

test('a socket that a killed daemon left does not stop the next', async () => {
  await withFolder(async (dataDirectory) => {
    await ensureDaemon({ dataDirectory, program, signal })
    const first = daemonPid(dataDirectory) ?? 0
    process.kill(first, 'SIGKILL')
    const env = { ...process.env }
    await ensureDaemon({ dataDirectory, program, signal, env })
    assert.notEqual(daemonPid(dataDirectory), first)
    await stopDaemon(dataDirectory, { signal })
  })
})

test('a daemon that dies says why', async () => {
  await withFolder(async (dataDirectory) => {
    const env = { ...process.env, FAKE_DAEMON: 'broken' }
    await assert.rejects(ensureDaemon({ dataDirectory, program, signal, env }), (error) => {
      assert.ok(error instanceof RametApiError)
      assert.equal(error.code, 'DAEMON_UNREACHABLE')
      assert.match(error.message, /ended with status 1/)
      assert.deepEqual(error.details.logLines, ['the store is damaged'])
      return true
    })
  })
})

test('a daemon that does not end is said so, and nobody else is hit in its place', async () => {
  await withFolder(async (dataDirectory) => {
    const env = { ...process.env, FAKE_DAEMON: 'deaf' }
    await ensureDaemon({ dataDirectory, program, signal, env })
    await assert.rejects(
      stopDaemon(dataDirectory, { signal, timeoutMs: 150 }),
      (error) => error instanceof RametApiError && error.code === 'TIMEOUT',
    )
    process.kill(daemonPid(dataDirectory) ?? 0, 'SIGKILL')
    writeFileSync(join(dataDirectory, 'daemon.json'), JSON.stringify({ pid: process.pid }))
    assert.equal(await stopDaemon(dataDirectory, { signal }), undefined, 'this test is no daemon')
    rmIdentity(dataDirectory)
  })
})

/** The clean-up of the folder kills what is named there, and that is us. */
function rmIdentity(dataDirectory: string): void {
  writeFileSync(join(dataDirectory, 'daemon.json'), '{}')
}

test('waiting for a daemon can be aborted', async () => {
  await withFolder(async (dataDirectory) => {
    const aborted = AbortSignal.abort(new RangeError('enough'))
    await assert.rejects(ensureDaemon({ dataDirectory, program, signal: aborted }), RangeError)
  })
})

test('a unit leaves the vms running, and quotes what systemd would take apart', async () => {
  const unit = systemdUnit({
    node: '/usr/bin/node',
    program: '/opt/my ramet/main.ts',
    dataDirectory: '/var/lib/ramet',
    system: true,
    daemonArguments: ['--http', '7070'],
    compileCache: '/opt/my $ramet/100%',
  })
  assert.match(unit, /^Environment="NODE_COMPILE_CACHE=\/opt\/my \$ramet\/100%%"$/m)
  assert.match(
    unit,
    /^ExecStart=\/usr\/bin\/node "\/opt\/my ramet\/main.ts" --data-dir \/var\/lib\/ramet --http 7070$/m,
  )
  assert.match(unit, /^KillMode=process$/m)
  assert.match(unit, /^Restart=on-failure$/m)
  assert.match(unit, /^WantedBy=multi-user.target$/m)
  assert.equal(unitPath(true, {}), '/etc/systemd/system/ramet.service')
  assert.equal(unitPath(false, { XDG_CONFIG_HOME: '/c' }), '/c/systemd/user/ramet.service')
  const printed = await runCli(undefined, [
    'serve',
    '--install',
    '--print',
    '--data-dir',
    '/data',
    '--log-level',
    'debug',
  ])
  assert.equal(printed.code, 0)
  assert.match(printed.stdout, /server\/main\.[jt]s --data-dir \/data --log-level debug\n/)
  assert.equal((await runCli(undefined, ['serve', '--print'])).code, 2)
})
