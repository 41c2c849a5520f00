import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { countDescriptors } from '../host/descriptors.ts'
import { allocatedBytes, immutableSeals, sealsOf } from '../host/memfd.ts'
import { BaseWriter, type OpenBase } from './base.ts'
import { loadBase, removeStoredBase, storeBase } from './store.ts'
import { manifestPath } from './stored-base.ts'

const MiB = 1024 * 1024
const sizeBytes = 20 * MiB + 8192
let directory = ''
let base: OpenBase

before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'ramet-store-'))
  using writer = await BaseWriter.create({ id: 'base-test-store', sizeBytes })
  writer.leaveHole(0, 3 * MiB)
  writer.write(randomBytes(8192), 3 * MiB)
  writer.leaveHole(3 * MiB + 8192, 6 * MiB - 4096)
  writer.write(randomBytes(2 * MiB), 9 * MiB + 4096)
  // Allocated zeros: in memory, but nothing worth a block on disk.
  writer.write(Buffer.alloc(MiB), 15 * MiB)
  writer.leaveHole(16 * MiB, 4 * MiB + 4096)
  writer.write(randomBytes(4096), 20 * MiB + 4096)
  base = writer.seal()
})
after(() => {
  closeSync(base.fd)
  rmSync(directory, { recursive: true })
})

function contentOf({ fd }: { fd: number }): Buffer {
  const bytes = Buffer.alloc(sizeBytes)
  for (let at = 0; at < bytes.length; ) at += readSync(fd, bytes, at, bytes.length - at, at)
  return bytes
}

test('a stored base loads again, byte for byte, sealed, and as sparse as it was', async () => {
  const path = join(directory, 'whole')
  const seen: number[] = []
  await storeBase(base, path, { onProgress: (done, total) => seen.push(done / total) })
  assert.equal(seen[seen.length - 1], 1)
  assert.ok(statSync(path).blocks * 512 < 3 * MiB)
  assert.equal(statSync(path).mode & 0o777, 0o400)
  const loaded = await loadBase(path, { onProgress: (done, total) => seen.push(done / total) })
  assert.equal(seen[seen.length - 1], 1)
  assert.deepEqual({ id: loaded.id, sizeBytes: loaded.sizeBytes }, { id: base.id, sizeBytes })
  assert.ok(contentOf(loaded).equals(contentOf(base)))
  assert.equal(sealsOf(loaded.fd), immutableSeals)
  assert.equal(allocatedBytes(loaded.fd), 2 * MiB + 3 * 4096)
  closeSync(loaded.fd)
  await removeStoredBase(path)
  await assert.rejects(loadBase(path), { code: 'NOT_FOUND' })
  await removeStoredBase(path)
})

test('damage of any kind is found and the file named', async () => {
  const path = join(directory, 'damaged')
  await storeBase(base, path)
  const manifest = readFileSync(manifestPath(path), 'utf8')
  const before = countDescriptors('self')
  const rejected = async (file: string) => {
    await assert.rejects(loadBase(path), (error: { code: string; message: string }) => {
      assert.equal(error.code, 'BASE_DAMAGED')
      assert.ok(error.message.includes(file), error.message)
      return true
    })
  }
  rmSync(manifestPath(path))
  for (const text of [
    '',
    '{}',
    manifest.slice(0, -20),
    manifest.replace('"version":1', '"version":2'),
    manifest.replace('[[3,', '[[300,'),
    // A block that is no longer listed would be a hole without a word.
    manifest.replace(/\[\[3,"[0-9a-f]+"\],/, '['),
  ]) {
    writeFileSync(manifestPath(path), text)
    await rejected(manifestPath(path))
  }
  writeFileSync(manifestPath(path), manifest)
  chmodSync(path, 0o600)
  const fd = openSync(path, 'r+')
  const byte = Buffer.alloc(1)
  readSync(fd, byte, 0, 1, 10 * MiB)
  writeSync(fd, Buffer.from([byte.readUInt8() ^ 1]), 0, 1, 10 * MiB)
  await rejected('block 10')
  closeSync(fd)
  truncateSync(path, sizeBytes - 4096)
  await rejected(path)
  renameSync(path, `${path}.there`)
  symlinkSync(`${path}.there`, path)
  await rejected('symbolic link')
  rmSync(path)
  execFileSync('mkfifo', [path])
  await rejected('not a plain file')
  rmSync(path)
  await rejected(path)
  rmSync(manifestPath(path))
  execFileSync('mkfifo', [manifestPath(path)])
  await rejected(manifestPath(path))
  rmSync(manifestPath(path))
  assert.equal(countDescriptors('self'), before)
})

test('a base that was exchanged for another, manifest and all, is refused when its id is known', async () => {
  const path = join(directory, 'exchanged')
  await storeBase(base, path)
  closeSync((await loadBase(path, { id: base.id })).fd)
  await assert.rejects(loadBase(path, { id: 'base-another' }), {
    code: 'BASE_DAMAGED',
    message: `${path} is memory base ${base.id} instead of base-another`,
  })
})

test('an aborted store leaves no file, and an aborted load no descriptor', async () => {
  const path = join(directory, 'aborted')
  const abort = new AbortController()
  const stop = () => abort.abort(new Error('enough'))
  await assert.rejects(storeBase(base, path, { signal: abort.signal, onProgress: stop }), { message: 'enough' })
  assert.deepEqual(
    readdirSync(directory).filter((name) => name.startsWith('aborted')),
    [],
  )
  await storeBase(base, path)
  const before = countDescriptors('self')
  await assert.rejects(loadBase(path, { signal: abort.signal }), { message: 'enough' })
  assert.equal(countDescriptors('self'), before)
})

test('a host without the memory refuses to load', async () => {
  const path = join(directory, 'large')
  await storeBase(base, path)
  const readMemory = () => ({ totalBytes: MiB, availableBytes: MiB, freeBytes: 0, sharedBytes: 0, swapFreeBytes: 0 })
  await assert.rejects(loadBase(path, { readMemory }), { code: 'NO_CAPACITY' })
})
