import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { Harness } from '../server/testing/harness.ts'
import { runCli } from './testing/run-cli.ts'

async function withVm(): Promise<Harness> {
  const harness = await Harness.start()
  assert.equal((await runCli(harness, ['run', 'micro', '--name', 'web'])).code, 0)
  return harness
}

test('a vm is saved; the snapshot is listed, inspected and removed', async () => {
  await using harness = await withVm()
  const made = await runCli(harness, [
    'snapshot',
    'create',
    'web',
    '--name',
    'first',
    '-l',
    'job=nightly',
    '--ttl',
    '1h',
  ])
  assert.deepEqual([made.code, made.stdout], [0, 'first\n'])
  assert.match(made.stderr, /64\.0 MiB|64 MiB of memory, stored in 20 MiB/)
  const listed = await runCli(harness, ['snapshot', 'ls'])
  assert.match(listed.stdout, /^NAME +STATE +VM +CPUS +MEMORY +STORED +RESTORED +EXPIRES +AGE\nfirst +ready +web /)
  assert.equal((await runCli(harness, ['snapshots', 'ls', '-q'])).stdout, 'first\n')
  assert.deepEqual(JSON.parse((await runCli(harness, ['snapshot', 'inspect', 'first'])).stdout).labels, {
    job: 'nightly',
  })
  assert.equal(JSON.parse((await runCli(harness, ['inspect', 'first'])).stdout).vm.name, 'web')
  const taken = await runCli(harness, ['snapshot', 'create', 'web', '--name', 'first'])
  assert.deepEqual([taken.code, taken.stdout], [4, ''])
  assert.equal((await runCli(harness, ['snapshot', 'rm', 'first'])).stdout, 'first\n')
  assert.match((await runCli(harness, ['snapshot', 'ls'])).stderr, /there are no snapshots; make one/)
  assert.match((await runCli(harness, ['snapshot', 'rm', 'frist'])).stderr, /there is no snapshot “frist”/)
})

test('a snapshot is restored: as new vms, or as the vm itself when that does not run', async () => {
  await using harness = await withVm()
  await runCli(harness, ['snapshot', 'create', 'web', '--name', 'first'])
  const one = await runCli(harness, ['snapshot', 'restore', 'first', '--as', 'again'])
  assert.match(one.stdout, /^NAME.*\nagain /)
  assert.match(one.stderr, /memory follows while it runs/)
  const several = await runCli(harness, ['snapshot', 'restore', 'first', '-n', '2', '--name-prefix', 'ci', '-q'])
  assert.equal(several.stdout, 'ci-0\nci-1\n')
  const itself = await runCli(harness, ['snapshot', 'restore', 'first'])
  assert.equal(itself.code, 4)
  assert.match(itself.stderr, /cannot restore web: it is running/)
  assert.equal((await runCli(harness, ['snapshot', 'restore', 'first', '--lazy', '--eager'])).code, 2)
  assert.equal((await runCli(harness, ['snapshot', 'restore', 'first', '--as', 'x', '-n', '2'])).code, 2)
  assert.equal((await runCli(harness, ['snapshot', 'restore', 'first', '--eager', '--policy', 'none'])).code, 2)
  const listed = JSON.parse((await runCli(harness, ['snapshot', 'inspect', 'first'])).stdout)
  assert.equal(listed.restoreCount, 3)
})

test('a snapshot goes into a file whole or not at all, and comes back', async () => {
  await using harness = await withVm()
  const dir = await mkdtemp(join(tmpdir(), 'ramet-export-'))
  try {
    await runCli(harness, ['snapshot', 'create', 'web', '--name', 'first'])
    const file = join(dir, 'first.tar')
    const written = await runCli(harness, ['snapshot', 'export', 'first', file])
    assert.deepEqual([written.code, written.stderr], [0, `wrote ${file}\n`])
    assert.equal(await readFile(file, 'utf8'), 'first')
    assert.equal((await runCli(harness, ['snapshot', 'export', 'first', '-'])).stdout, 'first')
    assert.equal((await runCli(harness, ['snapshot', 'export', 'first', '-'], { tty: true })).code, 2)
    assert.equal((await runCli(harness, ['snapshot', 'export', 'first', join(dir, 'no', 'a.tar')])).code, 2)
    await writeFile(file, 'second')
    assert.equal((await runCli(harness, ['snapshot', 'import', file])).stdout, 'second\n')
    assert.equal((await runCli(harness, ['snapshot', 'import', '-', '-n', 'third'], { stdin: 'x' })).stdout, 'third\n')
    assert.equal((await runCli(harness, ['snapshot', 'import', join(dir, 'none')])).code, 2)
    assert.deepEqual(await readdir(dir), ['first.tar'])
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
})
