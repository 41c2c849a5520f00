import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { buffer } from 'node:stream/consumers'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Harness } from '../server/testing/harness.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const example = fileURLToPath(new URL('testing/readme-example.ts', import.meta.url))

async function run(args: string[], env: NodeJS.ProcessEnv = process.env) {
  const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'pipe'] })
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
  const [stdout, stderr] = await Promise.all([buffer(child.stdout), buffer(child.stderr)])
  return { code: await ended, stdout: stdout.toString(), stderr: stderr.toString() }
}

test('the example of the README runs', async () => {
  await using harness = await Harness.start()
  const env = { ...process.env, RAMET_API_URL: `unix:${harness.server.socketPath}` }
  const { code, stdout, stderr } = await run([example], env)
  assert.equal(stderr, '')
  assert.equal(stdout, 'child-0 is warm\nchild-1 is warm\nchild-2 is warm\n')
  assert.equal(code, 0)
  assert.equal(harness.engine.vms.size, 1, 'the children are removed; a fake engine consumes no vm')
})

test('the README shows the example that was run', () => {
  const readme = join(root, 'README.md')
  if (!existsSync(readme)) return
  const text = readFileSync(example, 'utf8').trim()
  assert.ok(readFileSync(readme, 'utf8').includes(text), `put the text of ${example} into README.md, as it is`)
  assert.ok(text.split('\n').length <= 20, 'twenty lines are enough for an example')
})

test('the examples in the docstrings of the SDK are type-checked', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'ramet-examples-'))
  try {
    let count = 0
    for (const file of globSync('src/client/*.ts', { cwd: root })) {
      const source = readFileSync(join(root, file), 'utf8')
      for (const [, block] of source.matchAll(/@example\n\s*\* ```ts\n([\s\S]*?)\n\s*\* ```/g)) {
        const code = (block ?? '').replace(/^\s*\* ?/gm, '')
        // Everybody may name things as they like: each example is a module of its own.
        await writeFile(join(folder, `example-${count}.ts`), `${code}\nexport {}\n`)
        count += 1
      }
    }
    assert.ok(count >= 10, `${count} examples`)
    const compilerOptions = {
      paths: { ramet: [join(root, 'src/client/index.ts')] },
      typeRoots: [join(root, 'node_modules/@types')],
      noUnusedLocals: false,
    }
    await mkdir(join(folder, 'node_modules'))
    const config = { extends: join(root, 'tsconfig.json'), compilerOptions, include: ['*.ts'] }
    await writeFile(join(folder, 'package.json'), '{"type":"module"}')
    await writeFile(join(folder, 'tsconfig.json'), JSON.stringify(config))
    const { code, stdout } = await run([join(root, 'node_modules/typescript/bin/tsc'), '-p', folder])
    assert.equal(stdout, '')
    assert.equal(code, 0)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})
