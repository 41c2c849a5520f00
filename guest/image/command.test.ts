import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import process from 'node:process'
import { test } from 'node:test'
import { identify, waitForExit } from '../../src/host/process-identity.ts'
import { commandRunner, openBuildLog } from './command.ts'
import { testPlace } from './testing/fixtures.ts'

const script = (code: string): [string, string[]] => [process.execPath, ['-e', code]]

test('output is returned, what it says on the way is passed on and logged', async () => {
  await using place = await testPlace()
  const lines: string[] = []
  const [command, args] = script('console.error("I: one\\nI: two"); console.log("result")')
  const output = await place.shop().run(command, args, { onErrorLine: (line) => lines.push(line) })
  assert.equal(output, 'result\n')
  assert.deepEqual(lines, ['I: one', 'I: two'])
})

test('a failure has the last lines and the path of the log', async () => {
  await using place = await testPlace()
  const path = join(place.dir, 'build.log')
  const log = await openBuildLog(path)
  const [command, args] = script('for (let i = 0; i < 50; i++) console.error("line " + i); process.exitCode = 7')
  await assert.rejects(commandRunner(log)(command, args), (error: Error & { remediation: string }) => {
    assert.match(error.message, /exit code 7.*line 48 \| line 49$/)
    assert.ok(!error.message.includes('line 40'))
    assert.ok(error.remediation.includes(path))
    return 'code' in error && error.code === 'IMAGE_BUILD_FAILED'
  })
  await log[Symbol.asyncDispose]()
  assert.match(await readFile(path, 'utf8'), /line 0\n/)
})

test('a full disk is told as such', async () => {
  await using place = await testPlace()
  const [command, args] = script('console.error("write: No space left on device"); process.exitCode = 1')
  await assert.rejects(place.shop().run(command, args), { code: 'NO_SPACE' })
})

test('cancelling ends the program and its children', async () => {
  await using place = await testPlace()
  const abort = new AbortController()
  const spawnChild = `const c = require('node:child_process').spawn(process.execPath, ['-e', 'setInterval(() => {}, 1e6)'])
    console.error('pid ' + c.pid); setInterval(() => {}, 1e6)`
  const [command, args] = script(spawnChild)
  let grandchild: ReturnType<typeof identify>
  const onErrorLine = (line: string) => {
    grandchild = identify(Number(line.slice(4)))
    abort.abort()
  }
  await assert.rejects(place.shop(abort.signal).run(command, args, { onErrorLine }), { code: 'CANCELLED' })
  assert.ok(grandchild !== undefined)
  await waitForExit(grandchild)
  await assert.rejects(place.shop(abort.signal).run(command, args), { code: 'CANCELLED' })
})
