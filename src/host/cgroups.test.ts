import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { type Hierarchy, prepareHierarchies, readHostCgroups } from './cgroup-hierarchies.ts'
import { openCgroups } from './cgroups.ts'

function temporary(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'ramet-cgroups-'))
  t.after(() => rmSync(directory, { recursive: true }))
  return directory
}

test('version 2: controllers are enabled downwards, limits written in its words', (t) => {
  const root = temporary(t)
  writeFileSync(join(root, 'cgroup.controllers'), 'cpuset cpu io memory pids\n')
  const hierarchies = prepareHierarchies(
    { mounts: `cgroup2 ${root} cgroup2 rw,nosuid 0 0\n`, ownGroups: '0::/user.slice\n', privileged: true },
    'ramet',
  )
  assert.deepEqual(hierarchies, [{ version: 2, directory: join(root, 'ramet'), controllers: ['memory', 'cpu'] }])
  assert.equal(readFileSync(join(root, 'cgroup.subtree_control'), 'utf8'), '+memory+cpu')
  assert.equal(readFileSync(join(root, 'ramet', 'cgroup.subtree_control'), 'utf8'), '+memory+cpu')
  const driver = openCgroups({ hierarchies })
  driver.create('vm-1', { memoryMaxBytes: 1 << 28, cpuCores: 0.5 })
  const group = join(root, 'ramet', 'vm-1')
  assert.equal(readFileSync(join(group, 'memory.max'), 'utf8'), String(1 << 28))
  assert.equal(readFileSync(join(group, 'cpu.max'), 'utf8'), '50000 100000')
  driver.add('vm-1', 42)
  assert.equal(readFileSync(join(group, 'cgroup.procs'), 'utf8'), '42')
  writeFileSync(join(group, 'memory.current'), '4096\n')
  writeFileSync(join(group, 'memory.events'), 'low 0\noom 3\noom_kill 2\n')
  assert.deepEqual(driver.usage('vm-1'), { memoryBytes: 4096, oomKillCount: 2 })
  assert.deepEqual(driver.list(), ['vm-1'])
  assert.throws(() => driver.create('../vm', {}), { code: 'INVALID_NAME' })
})

test('without privilege only the delegated group counts, and an empty version 2 beside version 1 is passed over', (t) => {
  const root = temporary(t)
  mkdirSync(join(root, 'v2', 'mine'), { recursive: true })
  mkdirSync(join(root, 'memory', 'mine'), { recursive: true })
  writeFileSync(join(root, 'v2', 'mine', 'cgroup.controllers'), '\n')
  const mounts = `cgroup2 ${root}/v2 cgroup2 rw 0 0\ncgroup ${root}/memory cgroup rw,memory 0 0\n`
  const ownGroups = '0::/mine/daemon\n4:memory:/mine/daemon\n'
  assert.deepEqual(prepareHierarchies({ mounts, ownGroups, privileged: false }, 'ramet'), [
    { version: 1, directory: join(root, 'memory', 'mine', 'ramet'), controllers: ['memory'] },
  ])
})

test('where nothing is writable the driver says so once and does nothing', async () => {
  const said: string[] = []
  const nothing = () => {}
  const log = { debug: nothing, info: nothing, error: nothing, warn: (_: object, text: string) => said.push(text) }
  const driver = openCgroups({ hierarchies: [], log })
  driver.create('vm-1', { memoryMaxBytes: 1 })
  driver.add('vm-1', process.pid)
  assert.deepEqual(driver.usage('vm-1'), { oomKillCount: 0 })
  await driver.remove('vm-1')
  assert.equal(said.length, 1)
  assert.match(said[0] ?? '', /not enforced/)
})

test('on this host: a limit is kept by the kernel, and removing a group ends what is in it', async (t) => {
  const parent = `ramet-test-${process.pid}`
  const hierarchies: Hierarchy[] = prepareHierarchies(readHostCgroups(), parent)
  const driver = openCgroups({ hierarchies })
  t.after(async () => {
    await driver.remove('vm-1')
    for (const { directory } of hierarchies) rmdirSync(directory)
  })
  t.diagnostic(driver.finding)
  driver.create('vm-1', { memoryMaxBytes: 48 * 1024 * 1024, cpuCores: 0.5 })

  const sleeper = spawn('/bin/sleep', ['60'], { stdio: 'ignore' })
  driver.add('vm-1', sleeper.pid ?? 0)
  const hungry = spawn('/bin/sh', ['-c', 'read go; exec "$0" -e "Buffer.alloc(200_000_000, 1)"', process.execPath], {
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  driver.add('vm-1', hungry.pid ?? 0)
  if (driver.controllers.includes('memory')) {
    hungry.stdin?.write('\n')
    const [, signal] = await once(hungry, 'exit')
    assert.equal(signal, 'SIGKILL')
    assert.ok(driver.usage('vm-1').oomKillCount >= 1)
  } else {
    hungry.kill('SIGKILL')
    sleeper.kill('SIGKILL')
  }
  const ended = sleeper.exitCode === null && sleeper.signalCode === null ? once(sleeper, 'exit') : undefined
  await driver.remove('vm-1')
  await ended
  assert.deepEqual(driver.list(), [])
})
