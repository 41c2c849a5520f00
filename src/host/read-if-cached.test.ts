import assert from 'node:assert/strict'
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { readIfCached } from './read-if-cached.ts'

test('what was just written is read, and no more than there is', () => {
  const directory = mkdtempSync(join(tmpdir(), 'ramet-cached-'))
  const path = join(directory, 'file')
  writeFileSync(path, 'some bytes of a file')
  const fd = openSync(path, 'r')
  try {
    const buffer = Buffer.alloc(5)
    assert.equal(readIfCached(fd, buffer, 5), true)
    assert.equal(buffer.toString(), 'bytes')
    assert.equal(readIfCached(fd, Buffer.alloc(5), 18), false, 'the file ends before')
    assert.equal(readIfCached(-1, Buffer.alloc(5), 0), false)
  } finally {
    closeSync(fd)
    rmSync(directory, { recursive: true })
  }
})
