import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { chmodSync, closeSync, mkdtempSync, readSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { allocatedBytes } from '../host/memfd.ts'
import type { OpenBase } from './base.ts'
import { foldBase } from './capture.ts'
import { copyDelta } from './delta.ts'
import { readFootprint } from './footprint.ts'
import { findGuestRam } from './guest-ram.ts'
import { listPrivateRuns, totalBytes } from './private-runs.ts'
import { startPausedQemu } from './testing/paused-qemu.ts'

const MiB = 1024 * 1024
const sizeBytes = 70 * MiB + 8192
const firstAt = 16 * MiB + 4096
const secondAt = firstAt + 2 * MiB
const first = randomBytes(5 * MiB)
const second = Buffer.concat([Buffer.alloc(4096), randomBytes(MiB), Buffer.alloc(8192)])
let directory = ''

before(() => {
  directory = mkdtempSync(join(tmpdir(), 'ramet-capture-'))
  // The child runs as another user.
  chmodSync(directory, 0o755)
  writeFileSync(join(directory, 'first'), first)
  writeFileSync(join(directory, 'second'), second)
})
after(() => rmSync(directory, { recursive: true }))

/** Content of the whole RAM as guest-physical bytes, from a base. */
function contentOf(base: OpenBase): Buffer {
  const bytes = Buffer.alloc(base.sizeBytes)
  for (let at = 0; at < bytes.length; ) at += readSync(base.fd, bytes, at, bytes.length - at, at)
  return bytes
}

async function foldOf(pid: number, id: string, base?: OpenBase): Promise<OpenBase> {
  const ram = findGuestRam({ pid, sizeBytes, ...(base === undefined ? {} : { baseId: base.id }) })
  return await foldBase({ id, ram, runs: await listPrivateRuns(ram), ...(base === undefined ? {} : { base }) })
}

test('an ordinary vm folds into a base, a child of it into another, each with the bytes of its guest', async () => {
  await using parent = await startPausedQemu({
    sizeBytes,
    load: [{ file: join(directory, 'first'), address: firstAt }],
  })
  const ram = findGuestRam({ pid: parent.pid, sizeBytes })
  const hva = /is 0x([0-9a-f]+)/.exec(await parent.monitor('gpa2hva 0x100000'))?.[1]
  assert.equal(ram.start, Number.parseInt(hva ?? '', 16) - MiB)

  const base = await foldOf(parent.pid, 'base-test-parent')
  const content = contentOf(base)
  assert.ok(content.subarray(firstAt, firstAt + first.length).equals(first))
  assert.ok(allocatedBytes(base.fd) < first.length + 2 * MiB, 'zero pages are holes')

  await using child = await startPausedQemu({
    sizeBytes,
    base,
    load: [{ file: join(directory, 'second'), address: secondAt }],
    ...(process.getuid?.() === 0 ? { uid: 65534 } : {}),
  })
  const childRam = findGuestRam({ pid: child.pid, sizeBytes, baseId: base.id })
  const runs = await listPrivateRuns(childRam)
  const delta = await copyDelta(childRam, runs)
  assert.equal(delta.bytes.length, totalBytes(runs))
  assert.ok(delta.bytes.length >= second.length && delta.bytes.length < second.length + 2 * MiB)

  const expected = Buffer.from(content)
  let at = 0
  for (const run of delta.runs) {
    delta.bytes.copy(expected, run.offsetBytes, at, at + run.lengthBytes)
    at += run.lengthBytes
  }
  assert.ok(expected.subarray(secondAt, secondAt + second.length).equals(second))

  const folded = await foldOf(child.pid, 'base-test-child', base)
  assert.ok(contentOf(folded).equals(expected), 'base and delta make the new base')
  assert.ok(contentOf(base).equals(content), 'the old base is unchanged')

  const footprint = readFootprint(childRam)
  assert.equal(footprint.guestPrivateBytes, delta.bytes.length)
  assert.ok(footprint.overheadBytes > MiB && footprint.overheadBytes < 100 * MiB)
  closeSync(base.fd)
  closeSync(folded.fd)
})

test('a vm that has ended, or RAM of another size, is a clear error', async () => {
  const vm = await startPausedQemu({ sizeBytes })
  const ram = findGuestRam({ pid: vm.pid, sizeBytes })
  assert.throws(() => findGuestRam({ pid: vm.pid, sizeBytes: sizeBytes + 4096 }), { code: 'VMM_FAILED' })
  assert.throws(() => findGuestRam({ pid: vm.pid, sizeBytes, baseId: 'base-none' }), { code: 'VMM_FAILED' })
  const runs = [{ offsetBytes: 0, lengthBytes: 8192 }]
  const abort = AbortSignal.abort(new Error('enough'))
  await assert.rejects(copyDelta(ram, [{ offsetBytes: 0, lengthBytes: 16 * MiB }], undefined, { signal: abort }), {
    message: 'enough',
  })
  await vm[Symbol.asyncDispose]()
  await assert.rejects(copyDelta(ram, runs), { code: 'VMM_FAILED' })
  assert.throws(() => findGuestRam({ pid: vm.pid, sizeBytes }), { code: 'VMM_FAILED' })
})
