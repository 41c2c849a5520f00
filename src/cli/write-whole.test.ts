import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { lstat, open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { writeWhole } from './write-whole.ts'

const { signal } = new AbortController()

function temporaryDir(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'ramet-write-'))
  t.after(() => rmSync(dir, { recursive: true }))
  return dir
}

test('a pipe is written into, and stays a pipe', async (t) => {
  const dir = temporaryDir(t)
  const pipe = join(dir, 'pipe')
  const link = join(dir, 'link')
  execFileSync('mkfifo', [pipe])
  symlinkSync('pipe', link)
  // Open both ways it blocks nobody, whatever becomes of it.
  const reader = await open(pipe, 'r+')
  t.after(() => reader.close())
  for (const file of [pipe, link]) {
    await writeWhole(file, Readable.from(['archive']), signal)
    assert.ok((await lstat(pipe)).isFIFO())
    assert.ok((await lstat(link)).isSymbolicLink())
    const { buffer, bytesRead } = await reader.read()
    assert.equal(buffer.toString('utf8', 0, bytesRead), 'archive')
  }
  assert.deepEqual(readdirSync(dir).sort(), ['link', 'pipe'])
})

test('a file is replaced once the new one is whole, behind a link too', async (t) => {
  const dir = temporaryDir(t)
  const file = join(dir, 'file')
  writeFileSync(file, 'old')
  symlinkSync('file', join(dir, 'link'))
  const broken = Readable.from(
    (async function* () {
      yield 'half'
      throw new Error('the daemon is gone')
    })(),
  )
  await assert.rejects(writeWhole(file, broken, signal), /the daemon is gone/)
  assert.equal(readFileSync(file, 'utf8'), 'old')
  await writeWhole(join(dir, 'link'), Readable.from(['new']), signal)
  assert.equal(readFileSync(file, 'utf8'), 'new')
  await writeWhole(join(dir, 'other'), Readable.from(['first']), signal)
  assert.deepEqual(readdirSync(dir).sort(), ['file', 'link', 'other'])
})

test('a directory, or one that is missing, is refused', async (t) => {
  const dir = temporaryDir(t)
  for (const file of [dir, join(dir, 'missing', 'file')])
    await assert.rejects(writeWhole(file, Readable.from(['x']), signal), { code: 'INVALID_ARGUMENT' })
})

test('what lies under the name of the unfinished file is not written to', async (t) => {
  const dir = temporaryDir(t)
  const file = join(dir, 'file')
  writeFileSync(join(dir, 'other'), 'theirs')
  symlinkSync('other', `${file}.partial`)
  await writeWhole(file, Readable.from(['archive']), signal)
  assert.equal(readFileSync(join(dir, 'other'), 'utf8'), 'theirs')
  assert.equal(readFileSync(file, 'utf8'), 'archive')
  assert.ok((await lstat(file)).isFile())
})
