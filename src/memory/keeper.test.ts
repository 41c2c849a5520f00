import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, readdirSync, readSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { allocatedBytes, createMemfd, sealFile, seals } from '../host/memfd.ts'
import { isRunning } from '../host/process-identity.ts'
import { spawnDetached } from '../host/spawn-detached.ts'
import { armFaults } from '../shared/fault.ts'
import { limits } from '../shared/limits.ts'
import { BaseWriter, checkSealed, memfdNameOf, type OpenBase } from './base.ts'
import { findKeeper, type KeptBase, keepBase, openBase, releaseBase } from './keeper.ts'

const MiB = 1024 * 1024

async function makeBase(id: string): Promise<OpenBase> {
  const data = [{ offsetBytes: MiB, lengthBytes: 12288 }]
  using writer = await BaseWriter.create({ id, sizeBytes: 2 * MiB + 8192, data })
  writer.write(Buffer.alloc(8192, 'A'), MiB)
  writer.write(Buffer.alloc(4096, 'B'), MiB + 8192)
  return writer.seal()
}

test('a base reads back what was written, and takes memory for that only', async () => {
  const base = await makeBase('base-test-holes')
  assert.equal(allocatedBytes(base.fd), 3 * 4096)
  const bytes = Buffer.alloc(5 * 4096)
  readSync(base.fd, bytes, 0, bytes.length, MiB - 4096)
  const expected = Buffer.concat([
    Buffer.alloc(4096),
    Buffer.alloc(8192, 'A'),
    Buffer.alloc(4096, 'B'),
    Buffer.alloc(4096),
  ])
  assert.ok(bytes.equals(expected))
  checkSealed(base.fd, base.id, base.sizeBytes)
  assert.throws(() => checkSealed(base.fd, base.id, base.sizeBytes + 4096), { code: 'BASE_DAMAGED' })
  closeSync(base.fd)
})

test('a base larger than the memory of the host is refused before anything is reserved', async () => {
  const readMemory = () => ({
    totalBytes: 1024 * MiB,
    availableBytes: 512 * MiB,
    freeBytes: 0,
    sharedBytes: 0,
    swapFreeBytes: 0,
  })
  await assert.rejects(BaseWriter.create({ id: 'base-test-big', sizeBytes: 400 * MiB, readMemory }), {
    code: 'NO_CAPACITY',
  })
  await assert.rejects(BaseWriter.create({ id: 'base-test-odd', sizeBytes: 4097 }), { code: 'INVALID_ARGUMENT' })
})

test('a host whose memory ends while it is reserved is full, and the descriptor is closed', async () => {
  for (const errno of ['ENOSPC', 'ENOMEM']) {
    armFaults(`memory.base=${errno}@2`)
    const descriptors = readdirSync('/proc/self/fd').length
    await assert.rejects(BaseWriter.create({ id: 'base-test-short', sizeBytes: 2 * limits.memoryChunkBytes }), {
      code: 'NO_CAPACITY',
      message: /no memory for base base-test-short/,
    })
    assert.equal(readdirSync('/proc/self/fd').length, descriptors)
  }
})

test('a keeper for which the host has no room is NO_CAPACITY, and the base stays the caller’s', async () => {
  const base = await makeBase('base-test-unkept')
  for (const errno of ['EAGAIN', 'ENOMEM']) {
    armFaults(`process.spawn=${errno}`)
    await assert.rejects(keepBase(base), { code: 'NO_CAPACITY', message: new RegExp(`no room.*sleep.*${errno}`) })
    assert.equal(findKeeper(base.id), undefined)
  }
  checkSealed(base.fd, base.id, base.sizeBytes)
  closeSync(base.fd)
})

test('an aborted base leaves no descriptor', async () => {
  await assert.rejects(
    BaseWriter.create({ id: 'base-test-abort', sizeBytes: MiB, signal: AbortSignal.abort(new Error('enough')) }),
    { message: 'enough' },
  )
})

test('writes out of order are a defect, not a silent overwrite', async () => {
  using writer = await BaseWriter.create({ id: 'base-test-order', sizeBytes: MiB })
  writer.write(Buffer.alloc(4096, 1), 8192)
  assert.throws(() => writer.write(Buffer.alloc(4096, 1), 4096), { code: 'INTERNAL' })
  assert.throws(() => writer.leaveHole(8192, 4096), { code: 'INTERNAL' })
  writer.leaveHole(12288, 4096)
  assert.throws(() => writer.write(Buffer.alloc(8192, 1), MiB - 4096), { code: 'INTERNAL' })
})

test('a base lives as long as its keeper', async (t) => {
  const base = await makeBase('base-test-kept')
  const kept = await keepBase(base)
  t.after(() => releaseBase(kept))
  closeSync(base.fd)
  const opened = openBase(JSON.parse(JSON.stringify(kept)))
  assert.equal(opened.sizeBytes, base.sizeBytes)
  closeSync(opened.fd)
  assert.throws(() => openBase({ ...kept, id: 'base-test-other' }), { code: 'BASE_DAMAGED' })
  assert.throws(() => openBase({ ...kept, sizeBytes: 4096 }), { code: 'BASE_DAMAGED' })
  await releaseBase(kept)
  assert.throws(() => openBase(kept), { code: 'NOT_FOUND' })
  await releaseBase(kept)
})

test('what is not sealed is not kept', async () => {
  const fd = createMemfd('ramet-base-test-open', MiB)
  await assert.rejects(keepBase({ id: 'base-test-open', fd, sizeBytes: MiB }), { code: 'BASE_DAMAGED' })
  closeSync(fd)
})

test('a keeper that holds what is not the sealed base is refused', async (t) => {
  const id = 'base-test-false'
  const directory = mkdtempSync(join(tmpdir(), 'ramet-keeper-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const plain = join(directory, 'plain')
  writeFileSync(plain, Buffer.alloc(MiB))
  const held: Record<string, [number, RegExp]> = {
    'the right name and size, but not sealed': [createMemfd(memfdNameOf(id), MiB), /base-test-false is not sealed/],
    'half of the seals': [createMemfd(memfdNameOf(id), MiB), /not sealed/],
    'another size': [createMemfd(memfdNameOf(id), 2 * MiB), /has 2097152 bytes instead of 1048576/],
    'another memory file': [createMemfd('ramet-base-test-other', MiB), /holds ramet-base-test-other/],
    'a plain file': [openSync(plain, 'r+'), /holds another file/],
  }
  sealFile(held['half of the seals']?.[0] ?? -1, seals.shrink | seals.grow)
  for (const [what, [fd, message]] of Object.entries(held)) {
    const { identity } = await spawnDetached({
      command: '/bin/sleep',
      args: ['infinity'],
      argv0: memfdNameOf(id),
      stdio: ['ignore', 'ignore', 'ignore', fd],
    })
    closeSync(fd)
    const kept = { id, sizeBytes: MiB, keeper: identity }
    try {
      assert.throws(() => openBase(kept), { code: 'BASE_DAMAGED', message }, what)
    } finally {
      await releaseBase(kept)
    }
  }
})

test('the keeper survives the sudden death of the process that started it', async (t) => {
  const script = `
    import { BaseWriter } from ${JSON.stringify(import.meta.resolve('./base.ts'))}
    import { keepBase } from ${JSON.stringify(import.meta.resolve('./keeper.ts'))}
    const writer = await BaseWriter.create({ id: 'base-test-orphan', sizeBytes: 65536 })
    writer.write(Buffer.alloc(4096, 'Z'), 4096)
    console.log(JSON.stringify(await keepBase(writer.seal())))
    setInterval(() => {}, 1000)`
  const spawner = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [line] = await once(spawner.stdout, 'data')
  const kept: KeptBase = JSON.parse(String(line))
  t.after(() => releaseBase(kept))
  spawner.kill('SIGKILL')
  await once(spawner, 'exit')
  assert.equal(isRunning(kept.keeper), true)
  assert.deepEqual(findKeeper('base-test-orphan'), kept.keeper)
  const opened = openBase(kept)
  const bytes = Buffer.alloc(4096)
  readSync(opened.fd, bytes, 0, 4096, 4096)
  assert.ok(bytes.equals(Buffer.alloc(4096, 'Z')))
  closeSync(opened.fd)
  await releaseBase(kept)
  assert.equal(findKeeper('base-test-orphan'), undefined)
})
