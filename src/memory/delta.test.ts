import assert from 'node:assert/strict'
import { randomFillSync } from 'node:crypto'
import process from 'node:process'
import { test } from 'node:test'
import { setImmediate as breathe } from 'node:timers/promises'
import { addressOf } from '../host/libc.ts'
import { limits } from '../shared/limits.ts'
import type { Run } from './base.ts'
import { askForHelp, helpOver, prepareHelp } from './copy-helper.ts'
import { copyNext, isClaimed, planCopy, stopCopy } from './copy-job.ts'
import { copyDelta, copyThroughFile } from './delta.ts'
import type { GuestRam } from './guest-ram.ts'
import { totalBytes } from './private-runs.ts'
import { residentBuffer } from './resident-buffer.ts'

const pageBytes = 4096
const MiB = 1024 * 1024

/** This process's own memory in the place of a guest's; whoever uses it keeps `source` alive. */
const source = randomFillSync(Buffer.allocUnsafeSlow(40 * MiB))
const ram: GuestRam = { pid: process.pid, start: addressOf(source), sizeBytes: source.length, baseId: undefined }

const run = (page: number, count: number): Run => ({ offsetBytes: page * pageBytes, lengthBytes: count * pageBytes })
const shapes: [string, Run[]][] = [
  ['nothing', []],
  ['one page', [run(7, 1)]],
  ['one run of many chunks', [run(0, 10_000)]],
  ['more runs than one call takes', Array.from({ length: 2500 }, (_, index) => run(index * 3, 1))],
  ['runs that end where a chunk does', [run(0, limits.memoryChunkBytes / pageBytes), run(2000, 1024), run(4000, 1)]],
  ['large and small by turns', Array.from({ length: 60 }, (_, index) => run(index * 150, index % 2 === 0 ? 120 : 1))],
]

const expected = (runs: readonly Run[]) =>
  Buffer.concat(runs.map(({ offsetBytes, lengthBytes }) => source.subarray(offsetBytes, offsetBytes + lengthBytes)))

for (const [name, runs] of shapes) {
  test(`a copy is the memory, whichever way it is made: ${name}`, async () => {
    const through = Buffer.alloc(totalBytes(runs))
    await copyThroughFile(ram, runs, through)
    assert.ok(through.equals(expected(runs)), 'through the file')
    const { bytes } = await copyDelta(ram, runs, await residentBuffer(totalBytes(runs) + 5 * MiB))
    assert.ok(bytes.equals(expected(runs)), 'directly')
  })
}

test('the second thread alone copies a job, and both together', { timeout: 60_000 }, async () => {
  const runs = [run(0, 5000), run(6000, 3000)]
  await prepareHelp()
  const alone = Buffer.alloc(totalBytes(runs))
  const job = planCopy(ram.pid, ram.start, runs, alone)
  askForHelp(job)
  while (!isClaimed(job)) await breathe()
  await helpOver(job)
  assert.ok(alone.equals(expected(runs)))
  for (let round = 0; round < 10; round += 1) {
    const { bytes } = await copyDelta(ram, runs)
    assert.ok(bytes.equals(expected(runs)))
  }
})

test('what the second thread could not read is an error to the one that waits', { timeout: 60_000 }, async () => {
  await prepareHelp()
  const job = planCopy(ram.pid, 4096, [run(0, 1)], Buffer.alloc(pageBytes))
  askForHelp(job)
  while (!isClaimed(job)) await breathe()
  await assert.rejects(helpOver(job), { code: 'EFAULT' })
})

test('each batch is claimed once, and none after the job was stopped', () => {
  const bytes = Buffer.alloc(source.length)
  const job = planCopy(ram.pid, ram.start, [run(0, 10_000)], bytes)
  assert.equal(copyNext(job), limits.memoryChunkBytes)
  assert.equal(copyNext(job), limits.memoryChunkBytes)
  assert.equal(isClaimed(job), false)
  stopCopy(job)
  assert.equal(isClaimed(job), true)
  assert.equal(copyNext(job), 0)
  const done = 2 * limits.memoryChunkBytes
  assert.ok(bytes.subarray(0, done).equals(source.subarray(0, done)))
  assert.ok(bytes.subarray(done).every((byte) => byte === 0))
})

test('what is not mapped, and a process that has ended, fail with both ways of copying', async () => {
  const beyond: GuestRam = { ...ram, start: 4096 }
  await assert.rejects(copyDelta(beyond, [run(0, 2)]), { code: 'VMM_FAILED' })
  await assert.rejects(copyThroughFile(beyond, [run(0, 2)], Buffer.alloc(8192)), { code: 'VMM_FAILED' })
  const gone: GuestRam = { ...ram, pid: 2 ** 22 + 1 }
  await assert.rejects(copyDelta(gone, [run(0, 1)]), { code: 'VMM_FAILED' })
  await assert.rejects(copyThroughFile(gone, [run(0, 1)], Buffer.alloc(4096)), { code: 'VMM_FAILED' })
})

test('a copy that was cancelled before is not begun', async () => {
  const bytes = Buffer.alloc(source.length)
  const signal = AbortSignal.abort(new Error('enough'))
  await assert.rejects(copyDelta(ram, [run(0, 10_000)], bytes, { signal }), { message: 'enough' })
  assert.ok(bytes.every((byte) => byte === 0))
})

test('a copy that is cancelled meanwhile fails, and nobody writes any more', async () => {
  const bytes = Buffer.alloc(source.length)
  let looks = 0
  // Aborted within the first chunk, however fast the other thread is meanwhile.
  const signal = Object.assign(new AbortController().signal, {
    throwIfAborted() {
      looks += 1
      if (looks > 1) throw new Error('enough')
    },
  })
  await assert.rejects(copyDelta(ram, [run(0, 10_000)], bytes, { signal }), { message: 'enough' })
  bytes.fill(0)
  await breathe()
  assert.ok(bytes.every((byte) => byte === 0))
})
