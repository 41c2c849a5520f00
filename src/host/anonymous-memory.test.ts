import assert from 'node:assert/strict'
import { test } from 'node:test'
import { memoryCalls } from './anonymous-memory.ts'
import { readFreeMemory } from './free-memory.ts'
import { advice } from './memory-calls.ts'

const MiB = 1024 * 1024

test('what is released keeps its content until the kernel takes it, and counts as lazily free', () => {
  const { address, bytes } = memoryCalls.map(8 * MiB)
  memoryCalls.advise(address, 8 * MiB, advice.noHugePages)
  const view = new Uint8Array(bytes).fill(7)
  const before = readFreeMemory().lazyFreeBytes
  memoryCalls.advise(address, 8 * MiB, advice.free)
  assert.ok(readFreeMemory().lazyFreeBytes - before > 7 * MiB)
  assert.ok(view.every((byte) => byte === 7))
  memoryCalls.advise(address, 4 * MiB, advice.pageOut)
  assert.ok(view.subarray(0, 4 * MiB).every((byte) => byte === 0))
  assert.ok(view.subarray(4 * MiB).every((byte) => byte === 7))
  memoryCalls.advise(address, 8 * MiB, advice.drop)
  assert.equal(view[8 * MiB - 1], 0)
})

test('what the kernel refuses is an error with its name', () => {
  assert.throws(() => memoryCalls.map(2 ** 52), { code: 'ENOMEM', syscall: 'mmap' })
  const { address } = memoryCalls.map(4096)
  assert.throws(() => memoryCalls.advise(address, 4096, 12345), { code: 'EINVAL', syscall: 'madvise' })
})

test('available memory comes from the host, lazily freed memory from the process asked for', () => {
  const memory = { totalBytes: 4, availableBytes: 3, freeBytes: 3, sharedBytes: 2, swapFreeBytes: 1 }
  const use = { residentBytes: 0, anonymousBytes: 0, swappedBytes: 0, proportionalBytes: 0 }
  const read = (pid: number) => ({ ...use, lazyFreeBytes: pid })
  assert.deepEqual(
    readFreeMemory(42, () => memory, read),
    { availableBytes: 3, lazyFreeBytes: 42 },
  )
})
