import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Harness } from '../server/testing/harness.ts'
import type { Command } from './command.ts'
import { candidates } from './completion/complete.ts'
import { completionModel } from './completion/model.ts'
import { shells } from './completion/scripts.ts'
import { entries, sections, type TableEntry } from './table.ts'
import { runCli } from './testing/run-cli.ts'

const verbs: { path: string; entry: TableEntry }[] = entries.flatMap((entry) =>
  'verbs' in entry
    ? entry.verbs.map((verb) => ({ path: `${entry.name} ${verb.name}`, entry: verb }))
    : [{ path: entry.name, entry }],
)

test('every command is explained: a line, a paragraph, one to three examples that name it', async () => {
  for (const { path, entry } of verbs) {
    const command: Command = (await entry.load()).default
    assert.match(entry.summary, /^[A-Z][^.]{5,70}$/, path)
    assert.ok(command.description.length >= 40 && command.description.endsWith('.'), `${path}: a paragraph`)
    assert.ok(command.examples.length >= 1 && command.examples.length <= 3, path)
    assert.ok(
      command.examples.some(({ line }) => line.includes(`ramet ${path}`)),
      `${path}: an example of itself`,
    )
    for (const { does } of command.examples) assert.match(does, /^[A-Z].*\.$/, path)
    for (const option of Object.values(command.options)) assert.doesNotMatch(option.description, /\.$/, option.flags)
  }
})

test('every command shows its help, within 80 columns', async () => {
  for (const { path } of verbs) {
    const { code, stdout } = await runCli(undefined, [...path.split(' '), '--help'])
    assert.equal(code, 0, path)
    assert.match(stdout, new RegExp(`^Usage: ramet ${path} \\[options\\]`), path)
    assert.match(stdout, /\nExamples:\n {2}\$ /, path)
    const [beforeExamples = ''] = stdout.split('\nExamples:')
    for (const one of beforeExamples.split('\n').slice(1)) assert.ok(one.length <= 80, `${path}: ${one}`)
  }
})

test('the examples are command lines that are understood', async () => {
  for (const { path, entry } of verbs) {
    const { parseCommand } = await import('./build.ts')
    const command: Command = (await entry.load()).default
    for (const { line } of command.examples) {
      const own = new RegExp(`ramet ${path}([^|>)]*)`).exec(line)?.[1]
      if (own === undefined) continue
      const words = [...own.replace(/<.*/, '').matchAll(/"([^"]*)"|(\S+)/g)].map((match) => match[1] ?? match[2] ?? '')
      assert.doesNotThrow(() => parseCommand(path, '', command, words), line)
    }
  }
})

test('the first help begins with what to do first', async () => {
  const { code, stdout } = await runCli(undefined, [])
  assert.equal(code, 0)
  assert.deepEqual(
    stdout
      .split('\n')
      .slice(0, 10)
      .map((one) => one.trim().split(/ {2,}/)[0]),
    [
      'Ramet forks running Linux virtual machines: memory, devices and disk, in milliseconds.',
      '',
      'Usage: ramet COMMAND [OPTIONS] [ARGUMENTS]',
      '',
      'Getting started',
      'ramet image build micro',
      'ramet run micro --name first',
      'ramet exec first sh -c "echo hi > /tmp/state"',
      'ramet template create warm --from first',
      'ramet fork warm --count 3',
    ],
  )
  for (const section of sections)
    for (const entry of section.entries) assert.match(stdout, new RegExp(`\n  ${entry.name} `))
  assert.equal((await runCli(undefined, ['--help'])).stdout, stdout)
  assert.match((await runCli(undefined, ['help', 'fork'])).stdout, /^Usage: ramet fork/)
  assert.match((await runCli(undefined, ['template'])).stdout, /^Usage: ramet template VERB/)
})

test('what makes no sense is answered with what would', async () => {
  const frok = await runCli(undefined, ['frok'])
  assert.deepEqual(frok, {
    code: 2,
    stdout: '',
    stderr: 'ramet: there is no command “frok”\n  remedy: Did you mean “fork”? See `ramet --help`.\n',
  })
  assert.match((await runCli(undefined, ['template', 'crate'])).stderr, /Did you mean “create”/)
  assert.match((await runCli(undefined, ['fork', 'x', '--conut', '3'])).stderr, /Did you mean --count\?/)
  assert.match((await runCli(undefined, ['ls', 'too', 'many'])).stderr, /too many arguments/)
  assert.match((await runCli(undefined, ['ls', '-o', 'xml'])).stderr, /“xml” is none of table, json, name/)
  const asJson = await runCli(undefined, ['frok', '-o', 'json'])
  assert.equal(JSON.parse(asJson.stderr).code, 'INVALID_ARGUMENT')
  const unreachable = await runCli(undefined, ['ls'])
  assert.equal(unreachable.code, 1)
  assert.match(
    unreachable.stderr,
    /^ramet: the Ramet daemon cannot be reached at .*\n {2}why: connect ENOENT.*\n {2}remedy: /,
  )
})

test('completion knows commands, verbs, options, their values and names', async () => {
  const model = await completionModel()
  const words = (...line: string[]) => candidates(line, model)
  assert.ok(words('').words.includes('fork'))
  assert.deepEqual(words('template', '').words, ['create', 'ls', 'inspect', 'rm'])
  assert.equal(words('exec', '').names, 'vm')
  assert.equal(words('stop', 'web', '').names, 'vm')
  assert.equal(words('fork', '').names, 'source')
  assert.ok(words('fork', '--').words.includes('--name-prefix'))
  assert.deepEqual(words('fork', '--link', '').words, ['up', 'down'])
  assert.deepEqual(words('ls', '-o', '').words, ['table', 'json', 'name'])
  assert.deepEqual(words('exec', 'web', ''), { words: [], files: true })
  assert.equal(words('template', 'rm', '').names, 'template')
  assert.equal(words('branch', '').names, 'source')
  assert.deepEqual(words('image', 'build', '').words, ['micro', 'debian'])
  assert.ok(!words('fork', '--').words.includes('--memory'), 'what would be refused is not offered')
})

test('completion asks the daemon for names, and prints a script for each shell', async () => {
  await using harness = await Harness.start()
  for (const name of ['web', 'worker']) await runCli(harness, ['run', 'micro', '-n', name])
  const env = { RAMET_API_URL: `unix:${harness.server.socketPath}` }
  assert.equal((await runCli(harness, ['__complete', 'exec', 'w'], { env })).stdout, 'web\nworker\n')
  assert.equal((await runCli(harness, ['__complete', 'exec', 'we'], { env })).stdout, 'web\n')
  assert.equal((await runCli(harness, ['__complete', 'fo'], { env })).stdout, 'fork\n')
  const nobody = { RAMET_API_URL: 'unix:/nonexistent.sock' }
  assert.deepEqual(await runCli(undefined, ['__complete', 'exec', ''], { env: nobody }), {
    code: 0,
    stdout: '',
    stderr: '',
  })
  for (const shell of shells) assert.match((await runCli(undefined, ['completion', shell])).stdout, /ramet __complete/)
  assert.equal((await runCli(undefined, ['completion', 'tcsh'])).code, 2)
})
