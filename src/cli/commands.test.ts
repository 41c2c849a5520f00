import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { until } from '../client/testing/until.ts'
import { Harness } from '../server/testing/harness.ts'
import { RametError } from '../shared/errors.ts'
import { runCli, startCli } from './testing/run-cli.ts'

/** A server with a vm for each name. */
async function withVms(...names: string[]): Promise<Harness> {
  const harness = await Harness.start()
  for (const name of names) assert.equal((await runCli(harness, ['run', 'micro', '--name', name])).code, 0)
  return harness
}

test('a vm is run, listed, inspected and removed', async () => {
  await using harness = await Harness.start()
  assert.deepEqual(await runCli(harness, ['run', 'micro', '--name', 'web']), { code: 0, stdout: 'web\n', stderr: '' })
  const listed = await runCli(harness, ['ls'])
  assert.match(listed.stdout, /^NAME +STATE +FROM +GEN +CPUS +MEMORY +ADDRESS +PORTS +AGE\nweb +running /)
  assert.equal((await runCli(harness, ['ls', '-q'])).stdout, 'web\n')
  assert.equal(JSON.parse((await runCli(harness, ['ls', '-o', 'json'])).stdout)[0].name, 'web')
  assert.equal(JSON.parse((await runCli(harness, ['inspect', 'web'])).stdout).name, 'web')
  const refused = await runCli(harness, ['rm', 'web'])
  assert.deepEqual([refused.code, refused.stdout], [4, ''])
  assert.match(refused.stderr, /^ramet: “web” is running\n {2}remedy: /)
  assert.deepEqual(await runCli(harness, ['rm', '--all', '--force']), { code: 0, stdout: 'web\n', stderr: '' })
  assert.match((await runCli(harness, ['ls'])).stderr, /no vms run/)
})

test('vms at rest are listed when that is asked for', async () => {
  await using harness = await withVms('web')
  await runCli(harness, ['stop', 'web'])
  const few = await runCli(harness, ['ls'])
  assert.match(few.stderr, /1 not running; --all shows them/)
  assert.match((await runCli(harness, ['ls', '--all'])).stdout, /web +stopped/)
  assert.equal((await runCli(harness, ['start', 'web'])).stdout, 'web\n')
  assert.equal((await runCli(harness, ['pause', 'web', '-o', 'json'])).code, 0)
  assert.equal((await runCli(harness, ['resume', 'web'])).code, 0)
  assert.equal((await runCli(harness, ['kill', 'web'])).code, 0)
})

test('a vm is told when it shall pause by itself, at its beginning and later', async () => {
  await using harness = await withVms('other')
  const idleOf = async () => JSON.parse((await runCli(harness, ['inspect', 'web'])).stdout).idle
  await runCli(harness, ['run', 'micro', '--name', 'web', '--idle-pause', '10m', '--idle-stay'])
  assert.deepEqual(await idleOf(), { pauseAfterSeconds: 600, resumeOnCall: false })
  assert.equal((await runCli(harness, ['update', 'web', '--idle-pause', '1h'])).stdout, 'web\n')
  assert.deepEqual(await idleOf(), { pauseAfterSeconds: 3600, resumeOnCall: true })
  assert.equal((await runCli(harness, ['update', 'web', '--idle-pause', 'none', '--ttl', '1h', '-n', 'api'])).code, 0)
  const renamed = JSON.parse((await runCli(harness, ['inspect', 'api'])).stdout)
  assert.deepEqual([renamed.idle, renamed.ttlSeconds], [undefined, 3600])
  await runCli(harness, ['update', 'api', '--idle-pause', '10m', '--idle-to-disk', '1d'])
  const both = JSON.parse((await runCli(harness, ['inspect', 'api'])).stdout).idle
  assert.deepEqual(both, { pauseAfterSeconds: 600, toDiskAfterSeconds: 86_400, resumeOnCall: true })
  assert.equal((await runCli(harness, ['update', 'api'])).code, 2)
  for (const wrong of [['--idle-stay'], ['--idle-pause', 'soon'], ['--idle-pause', '0']])
    assert.equal((await runCli(harness, ['update', 'api', ...wrong])).code, 2, wrong.join(' '))
})

test('ids may be begun but names may not, which are suggested', async () => {
  await using harness = await withVms('web-1', 'web-2', 'database')
  for (const begun of ['data', 'web']) assert.equal((await runCli(harness, ['rm', '-f', begun])).code, 3, begun)
  const { id } = JSON.parse((await runCli(harness, ['inspect', 'database'])).stdout)
  assert.equal((await runCli(harness, ['pause', id.slice(0, -1)])).stdout, 'database\n')
  const several = await runCli(harness, ['pause', 'vm-'])
  assert.equal(several.code, 2)
  assert.match(several.stderr, /“vm-” could be .*web-1/)
  const typo = await runCli(harness, ['pause', 'databsae'])
  assert.equal(typo.code, 3)
  assert.match(typo.stderr, /there is no vm “databsae”\n {2}remedy: Did you mean “database”\?/)
  const strange = await runCli(harness, ['pause', 'Web_1'])
  assert.equal(strange.code, 3)
})

test('what fails for one vm is done for the others', async () => {
  await using harness = await withVms('one', 'two')
  await runCli(harness, ['pause', 'one'])
  const run = await runCli(harness, ['pause', 'one', 'two'])
  assert.deepEqual([run.code, run.stdout], [4, 'two\n'])
  assert.match(run.stderr, /“one” is paused/)
})

test('a command runs in a vm, with its input, output and exit code', async () => {
  await using harness = await withVms('web')
  assert.deepEqual(await runCli(harness, ['exec', 'web', 'echo', 'hi']), { code: 0, stdout: 'hi\n', stderr: '' })
  assert.equal((await runCli(harness, ['exec', 'web', 'exit', '7'])).code, 7)
  assert.equal((await runCli(harness, ['exec', '-i', 'web', 'cat'], { stdin: 'through' })).stdout, 'through')
  const detached = await runCli(harness, ['exec', '-d', 'web', 'sleep'])
  assert.match(detached.stdout, /^exec-\w+\n$/)
  assert.match((await runCli(harness, ['ps', 'web'])).stdout, /running .*sleep/)
  const missing = await runCli(harness, ['exec', 'web', 'no-such'])
  assert.deepEqual([missing.code, missing.stdout], [1, ''])
  assert.match(missing.stderr, /no such program/)
})

test('options after the command belong to the command', async () => {
  await using harness = await withVms('web')
  assert.equal((await runCli(harness, ['exec', 'web', 'echo', '--help'])).stdout, '--help\n')
  assert.equal((await runCli(harness, ['run', '--rm', 'micro', 'echo', '-q'])).stdout, '-q\n')
  assert.equal(harness.engine.vms.size, 1, '--rm has removed the vm')
})

test('Ctrl-C goes to the command in the vm', async () => {
  await using harness = await withVms('web')
  const run = startCli(harness, ['exec', 'web', 'sleep'])
  await until(() => run.interrupts.taken)
  run.interrupts.receive('SIGINT')
  assert.equal(await run.code, 130)
})

test('a terminal is raw while it is the guest’s, follows its size, and is restored', async () => {
  await using harness = await withVms('web')
  const run = startCli(harness, ['exec', '-it', 'web', 'cat'], { tty: true })
  const process = await until(() => [...harness.engine.processes.values()][0])
  await until(() => run.stdin.modes[0])
  Object.assign(run.stdout, { columns: 132, rows: 50 })
  run.stdout.emit('resize')
  assert.deepEqual(await until(() => process.resized), { cols: 132, rows: 50 })
  run.stdin.write('typed')
  await until(() => run.stdout.text === 'typed')
  run.stdin.end()
  assert.equal(await run.code, 0)
  assert.deepEqual(run.stdin.modes, [true, false])
  const piped = await runCli(harness, ['exec', '-it', 'web', 'cat'])
  assert.equal(piped.code, 2)
  assert.match(piped.stderr, /not a terminal/)
})

test('children are forked, and what a template decides is refused by its value', async () => {
  await using harness = await withVms('web')
  assert.equal((await runCli(harness, ['template', 'create', 'warm', '--from', 'web'])).stdout, 'warm\n')
  const forked = await runCli(harness, ['branch', 'warm', '--count', '3', '-q'])
  assert.equal(forked.stdout, 'warm-0\nwarm-1\nwarm-2\n')
  assert.match(
    (await runCli(harness, ['fork', 'warm', '--name', 'one'])).stdout,
    /^NAME +STATE +GEN +RUNNING +READY\none /,
  )
  assert.equal(JSON.parse((await runCli(harness, ['fork', 'web', '-o', 'json'])).stdout)[0].ok, true)
  const frozen = await runCli(harness, ['fork', 'warm', '--memory', '1G'])
  assert.equal(frozen.code, 4)
  assert.match(frozen.stderr, /memoryBytes is fixed by “warm” at \d+/)
  assert.equal((await runCli(harness, ['fork', 'warm', '--name', 'x', '-n', '2'])).code, 2)
  const used = await runCli(harness, ['template', 'rm', 'warm'])
  assert.equal(used.code, 4)
  assert.match((await runCli(harness, ['template', 'ls'])).stdout, /warm/)
  assert.equal((await runCli(harness, ['clone', 'web', '--name', 'copy'])).stdout, 'copy\n')
  assert.match((await runCli(harness, ['tree'])).stdout, /^web {2}\(running, generation 0\)/m)
})

test('a fork of a vm tells people what it cost the parent, and children that are not as usual are marked', async () => {
  await using harness = await withVms('web')
  const forked = await runCli(harness, ['fork', 'web', '--name', 'one'])
  assert.match(forked.stdout, /^NAME.*\none /)
  assert.equal(forked.stderr, 'parent paused 41 ms, workload frozen 49 ms\n')
  assert.doesNotMatch((await runCli(harness, ['ls'])).stdout, /NOTE/)
  const bare = await runCli(harness, ['fork', 'web', '--name', 'nobody', '--no-agent'])
  assert.match(bare.stderr, /\nThe children have no identity/)
  await runCli(harness, ['fork', 'web', '--name', 'loose', '--no-freeze', '--pause-parent'])
  const { stdout } = await runCli(harness, ['ls'])
  assert.match(stdout, /^NAME .* NOTE$/m)
  assert.match(stdout, /^nobody .* no identity, links down$/m)
  assert.match(stdout, /^loose .* not frozen at fork$/m)
  assert.equal((await runCli(harness, ['fork', 'web', '-q', '--name', 'quiet'])).stderr, '')
  const { identity, layers } = JSON.parse((await runCli(harness, ['inspect', 'nobody'])).stdout)
  assert.equal(identity, 'none')
  assert.equal(layers.memory[0].owner.name, 'nobody')
})

test('a tree is drawn again and again while it is watched', async () => {
  await using harness = await withVms('web')
  const run = startCli(harness, ['tree', '--watch', '--interval', '10ms', '-q'])
  await until(() => run.stdout.text.split('web').length > 3)
  run.interrupts.receive('SIGINT')
  assert.notEqual(await run.code, 0)
})

test('errors are three lines for people and a document for programs', async () => {
  await using harness = await withVms('web')
  const fail = () => {
    harness.engine.failNext = new RametError('GUEST_PANIC', {
      message: '“x” panicked at boot',
      cause: new RangeError('no init found'),
      details: { consoleLines: ['Kernel panic - not syncing'] },
    })
  }
  fail()
  const people = await runCli(harness, ['run', 'micro'])
  assert.equal(people.code, 1)
  assert.deepEqual(people.stderr.split('\n'), [
    'ramet: “x” panicked at boot',
    '  why: no init found',
    '  | Kernel panic - not syncing',
    '  remedy: Read the console lines below, or `ramet logs`.',
    '',
  ])
  fail()
  const programs = await runCli(harness, ['run', 'micro', '-o', 'json'])
  assert.deepEqual([programs.code, programs.stdout], [1, ''])
  const problem = JSON.parse(programs.stderr)
  assert.deepEqual([problem.code, problem.cause], ['GUEST_PANIC', 'no init found'])
})

test('exit codes are those of the table of errors', async () => {
  await using harness = await withVms('web')
  const codes: Record<string, number> = {
    NO_CAPACITY: 5,
    NO_SPACE: 5,
    TIMEOUT: 124,
    NAME_TAKEN: 4,
    IMAGE_NOT_FOUND: 3,
    INVALID_NAME: 2,
    VMM_FAILED: 1,
  }
  for (const [code, exit] of Object.entries(codes)) {
    harness.engine.failNext = new RametError(code as 'TIMEOUT', { message: 'no' })
    assert.equal((await runCli(harness, ['run', 'micro'])).code, exit, code)
  }
})

test('Ctrl-C cancels what is under way, and says so', async () => {
  await using harness = await Harness.start()
  harness.engine.gate = new Promise(() => {})
  const run = startCli(harness, ['run', 'micro'])
  const kept = await until(() => [...harness.engine.operations.values()][0])
  await until(() => harness.engine.bus.listenerCount('event') > 0)
  run.interrupts.receive('SIGINT')
  assert.equal(await run.code, 130)
  assert.match(run.stderr.text, new RegExp(`interrupted; the daemon cancels operation ${kept.operation.id}`))
  assert.equal(await until(() => kept.operation.state === 'cancelled' && kept.operation.state), 'cancelled')
})

test('--timeout gives up and cancels', async () => {
  await using harness = await Harness.start()
  harness.engine.gate = new Promise(() => {})
  const run = await runCli(harness, ['run', 'micro', '--timeout', '50ms'])
  assert.equal(run.code, 124)
  assert.match(run.stderr, /not done after 50 ms/)
})

test('operations are listed, inspected and cancelled', async () => {
  await using harness = await Harness.start()
  harness.engine.gate = new Promise(() => {})
  const run = startCli(harness, ['run', 'micro', '--name', 'slow'])
  const kept = await until(() => [...harness.engine.operations.values()][0])
  const { id } = kept.operation
  assert.match((await runCli(harness, ['operation', 'ls'])).stdout, new RegExp(`${id} +vm.create +slow +running`))
  assert.equal(JSON.parse((await runCli(harness, ['op', 'inspect', id])).stdout).id, id)
  assert.equal((await runCli(harness, ['operation', 'cancel', id])).stdout, `${id}\n`)
  assert.equal(await run.code, 1)
  assert.match(run.stderr.text, /was cancelled/)
})

test('files are copied in and out', async () => {
  await using harness = await withVms('web')
  const folder = await mkdtemp(join(tmpdir(), 'ramet-cp-'))
  try {
    const here = join(folder, 'notes.txt')
    await writeFile(here, 'hello')
    assert.deepEqual(await runCli(harness, ['cp', here, 'web:/srv/notes']), { code: 0, stdout: '', stderr: '' })
    assert.equal((await runCli(harness, ['cp', 'web:/srv/notes', '-'])).stdout, 'hello')
    assert.equal((await runCli(harness, ['cp', 'web:/srv/notes', folder])).code, 0)
    assert.equal(await readFile(join(folder, 'notes'), 'utf8'), 'hello')
    assert.equal((await runCli(harness, ['cp', here, here])).code, 2)
    assert.equal((await runCli(harness, ['cp', 'web:/none', folder])).code, 3)
    for (const words of [
      ['cp', join(folder, 'none'), 'web:/x'],
      ['fork', 'web', '--file', `/etc/x=${join(folder, 'none')}`],
    ]) {
      const missing = await runCli(harness, words)
      assert.equal(missing.code, 2)
      assert.match(missing.stderr, /ramet-cp-\w+\/none/)
    }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})

test('logs, stats, ports, images, events and doctor answer', async () => {
  await using harness = await withVms('web')
  assert.equal((await runCli(harness, ['logs', '--tail', '1', 'web'])).stdout, 'three\n')
  assert.deepEqual(JSON.parse((await runCli(harness, ['logs', '--tail', '1', 'web', '-o', 'json'])).stdout), {
    vm: 'web',
    line: 'three',
  })
  const stats = (await runCli(harness, ['stats'])).stdout
  assert.match(stats, /web +50% +4 MiB +60 MiB +33 MiB/)
  assert.match(stats, /\nfor new vms +512 MiB\n[\s\S]+\nCACHE +kernel\nheld +96 MiB\n[\s\S]+\nmisses by reclaim +2\n/)
  assert.equal(JSON.parse((await runCli(harness, ['stats', '-o', 'json'])).stdout).length, 1)
  assert.equal(JSON.parse((await runCli(harness, ['stats', '--host', '-o', 'json'])).stdout).cache.hits, 90)
  assert.doesNotMatch((await runCli(harness, ['stats', 'web'])).stdout, /HOST/)
  assert.equal((await runCli(harness, ['stats', '--host', 'web'])).code, 2)
  assert.equal((await runCli(harness, ['port', 'web', '80:8080'])).stdout, '127.0.0.1:8080\n')
  assert.match((await runCli(harness, ['port', 'web'])).stdout, /80 +127\.0\.0\.1:8080/)
  assert.equal((await runCli(harness, ['port', 'web', '80', '--rm'])).code, 0)
  assert.equal((await runCli(harness, ['image', 'build', 'debian'])).stdout, 'debian:latest\n')
  assert.match((await runCli(harness, ['image', 'ls'])).stdout, /micro:latest/)
  assert.equal((await runCli(harness, ['image', 'rm', 'debian'])).code, 0)
  assert.match((await runCli(harness, ['image', 'import', '-', '--name', 'mine'], { stdin: 'bytes' })).stdout, /^mine:/)
  assert.match((await runCli(harness, ['doctor'])).stdout, /slow +KVM: guests hang[\s\S]*Ramet works here/)
  const run = startCli(harness, ['events', '-o', 'json', '--after', '0'])
  const [first] = await until(() => run.stdout.text.includes('\n') && run.stdout.text.split('\n'))
  assert.equal(JSON.parse(first ?? '').type, 'vm.created')
  run.interrupts.receive('SIGINT')
  assert.equal(await run.code, 130)
})

test('progress is a line that changes on a terminal, a line a stage elsewhere, and silent when short', async () => {
  const { Progress } = await import('./progress.ts')
  const { Sink } = await import('./testing/run-cli.ts')
  const operation = { id: 'op-1' } as Parameters<ReturnType<InstanceType<typeof Progress>['follow']>>[1]
  for (const tty of [true, false]) {
    const stderr = new Sink()
    Object.assign(stderr, { isTTY: tty, columns: 40 })
    const progress = new Progress({ stderr } as never, { silent: false, silenceMs: 5 })
    const tell = progress.follow('building micro')
    tell({ stage: 'fetch', fraction: 0.1 }, operation)
    assert.equal(stderr.text, '')
    await until(() => stderr.text !== '')
    tell({ stage: 'fetch', fraction: 0.5, doneBytes: 1024, totalBytes: 2048 }, operation)
    tell({ stage: 'pack' }, operation)
    progress.clear()
    const expected = tty
      ? '\r\u001b[Kbuilding micro: fetch 10%\r\u001b[Kbuilding micro: fetch 50% (1 KiB of 2 K\r\u001b[Kbuilding micro: pack\r\u001b[K'
      : 'building micro: fetch 10%\nbuilding micro: pack\n'
    assert.equal(stderr.text, expected)
  }
})
