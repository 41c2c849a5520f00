import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { digestFile, readStamp, sameStamp } from './file-stamp.ts'

let directory = ''
let path = ''

before(() => {
  directory = mkdtempSync(join(tmpdir(), 'ramet-stamp-'))
  path = join(directory, 'file')
})
after(() => rmSync(directory, { recursive: true }))

test('a stamp stays while the file does, and differs after whatever can be done to it', () => {
  writeFileSync(path, 'content')
  const stamp = readStamp(path)
  assert.ok(sameStamp(stamp, readStamp(path)))
  const changes: Record<string, () => void> = {
    'another content of the same length': () => writeFileSync(path, 'CONTENT'),
    'another length': () => writeFileSync(path, 'longer content'),
    'another mode': () => chmodSync(path, 0o400),
    'its old times, set by hand': () => utimesSync(path, Number(stamp.mtimeNs) / 1e9, Number(stamp.mtimeNs) / 1e9),
    'another file of that name': () => {
      rmSync(path)
      writeFileSync(path, 'content')
    },
  }
  for (const [what, change] of Object.entries(changes)) {
    const earlier = readStamp(path)
    change()
    assert.equal(sameStamp(earlier, readStamp(path)), false, what)
    assert.equal(sameStamp(stamp, readStamp(path)), false, what)
  }
})

test('a digest is that of all bytes, with progress, and can be cancelled', async () => {
  const bytes = Buffer.alloc(3 * 1024 * 1024 + 7, 'x')
  writeFileSync(path, bytes)
  const seen: number[] = []
  const { sha256, stamp } = await digestFile(path, { onProgress: (done, total) => seen.push(done / total) })
  assert.equal(sha256, createHash('sha256').update(bytes).digest('hex'))
  assert.equal(seen.at(-1), 1)
  assert.ok(sameStamp(stamp, readStamp(path)))
  const signal = AbortSignal.abort(new Error('enough'))
  await assert.rejects(digestFile(path, { signal }), { message: 'enough' })
})

test('what is no plain file is neither followed nor waited for', async () => {
  const elsewhere = join(directory, 'elsewhere')
  writeFileSync(elsewhere, 'content')
  const kinds: Record<string, () => void> = {
    'is missing': () => {},
    'is a symbolic link': () => symlinkSync(elsewhere, path),
    'is not a plain file': () => void execFileSync('mkfifo', [path]),
  }
  for (const [what, make] of Object.entries(kinds)) {
    rmSync(path, { force: true })
    make()
    assert.throws(() => readStamp(path), { code: 'BASE_DAMAGED', message: `${path} ${what}` })
    await assert.rejects(digestFile(path), { code: 'BASE_DAMAGED' }, what)
  }
  rmSync(path)
})

test('a file that is written to while it is read has no digest', async () => {
  writeFileSync(path, Buffer.alloc(2 * 1024 * 1024))
  const onProgress = () => writeFileSync(path, Buffer.alloc(2 * 1024 * 1024, 1))
  await assert.rejects(digestFile(path, { onProgress }), { code: 'BASE_DAMAGED', message: /is being changed/ })
})
