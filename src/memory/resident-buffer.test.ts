import assert from 'node:assert/strict'
import process from 'node:process'
import { test } from 'node:test'
import { addressOf } from '../host/libc.ts'
import { readPrivateRuns } from '../host/pagemap.ts'
import { armFaults } from '../shared/fault.ts'
import { limits } from '../shared/limits.ts'
import { residentBuffer } from './resident-buffer.ts'

const MiB = 1024 * 1024
const pageBytes = 4096

test('every page of the buffer is in memory, save those at the seams', async () => {
  const buffer = await residentBuffer(70 * MiB + 123)
  const start = Math.ceil(addressOf(buffer) / pageBytes) * pageBytes
  const pages = Math.floor((addressOf(buffer) + buffer.length - start) / pageBytes)
  const resident = readPrivateRuns(process.pid, start, start + pages * pageBytes)
  const count = resident.reduce((sum, run) => sum + run.count, 0)
  assert.ok(count >= pages - Math.ceil(buffer.length / limits.memoryPopulateBytes), `${count} of ${pages} pages`)
  assert.equal(buffer.length, 70 * MiB + 123)
})

test('a host short of memory, a size nobody has and a cancelled call are refused', async () => {
  const short = {
    totalBytes: 1e9,
    availableBytes: limits.hostReserveBytes + MiB,
    freeBytes: 0,
    sharedBytes: 0,
    swapFreeBytes: 0,
  }
  await assert.rejects(residentBuffer(2 * MiB, { readMemory: () => short }), { code: 'NO_CAPACITY' })
  const vast = { ...short, availableBytes: 2 ** 60 }
  await assert.rejects(residentBuffer(2 ** 50, { readMemory: () => vast }), { code: 'NO_CAPACITY' })
  const signal = AbortSignal.abort(new Error('enough'))
  await assert.rejects(residentBuffer(MiB, { signal }), { message: 'enough' })
})

test('a kernel that has no page left in the middle of it is told as a host that is full', async () => {
  armFaults('memory.buffer=ENOMEM@2')
  await assert.rejects(residentBuffer(2 * limits.memoryPopulateBytes), {
    code: 'NO_CAPACITY',
    message: /no memory for a copy of 64 MiB/,
    remediation: /removing VMs/,
  })
})
