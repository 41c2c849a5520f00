import assert from 'node:assert/strict'
import { test } from 'node:test'
import exec from './commands/exec.ts'
import run from './commands/run.ts'
import { globalOptions } from './options/global.ts'
import { markPassThrough } from './pass-through.ts'

const mark = (command: typeof run, line: string) =>
  markPassThrough(line.split(' '), command, [...Object.values(command.options), ...Object.values(globalOptions)]).join(
    ' ',
  )

test('the words of a command in a vm are told from our own', () => {
  assert.equal(mark(run, 'micro --name web ls -l'), 'micro --name web -- ls -l')
  assert.equal(mark(run, '--rm -it -m 512M micro sh -c x'), '--rm -it -m 512M micro -- sh -c x')
  assert.equal(mark(run, '-m512M --name=web micro sh'), '-m512M --name=web micro -- sh')
  assert.equal(mark(run, 'micro --name web'), 'micro --name web')
  assert.equal(mark(exec, 'web -- ls -l'), 'web -- ls -l')
  assert.equal(mark(exec, '-itu root web id'), '-itu root web -- id')
  assert.equal(mark(exec, 'web cat -'), 'web -- cat -')
  assert.equal(mark(exec, '-o json web ls -o'), '-o json web -- ls -o')
})
