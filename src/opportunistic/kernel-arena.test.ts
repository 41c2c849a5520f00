import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { memoryCalls } from '../host/anonymous-memory.ts'
import { readFreeMemory } from '../host/free-memory.ts'
import { advice } from '../host/memory-calls.ts'
import { limits } from '../shared/limits.ts'
import { generationOf } from './generation.ts'
import { arenaHandleWords, KernelArena } from './kernel-arena.ts'

const pageBytes = 4096
const MiB = 1024 * 1024
const into = Buffer.alloc(4 * pageBytes)
const block = (byte: number, pages = 4) => Buffer.alloc(pages * pageBytes, byte)
const handles = new Int32Array(1024 * arenaHandleWords)
const fill = (arena: KernelArena, slot: number, bytes: Buffer) =>
  arena.fill(slot, bytes, handles, slot * arenaHandleWords)
const read = (arena: KernelArena, slot: number) =>
  arena.read(slot, into.length, handles, slot * arenaHandleWords, into, 0)
const holds = (arena: KernelArena, slot: number, byte: number) =>
  read(arena, slot) && into.every((other) => other === byte)
const generation = (slot: number) => generationOf(handles, slot * arenaHandleWords)

test('what is filled is free at once: the kernel counts it so, and reading does not change that', () => {
  const arena = new KernelArena(memoryCalls, { slotCount: 1024, slotBytes: 4 * pageBytes })
  const before = readFreeMemory().lazyFreeBytes
  for (let slot = 0; slot < 1024; slot += 1) fill(arena, slot, block(slot & 127))
  arena.settle()
  assert.ok(readFreeMemory().lazyFreeBytes - before > 15 * MiB)
  for (let slot = 0; slot < 1024; slot += 1) assert.ok(holds(arena, slot, slot & 127))
  assert.ok(readFreeMemory().lazyFreeBytes - before > 15 * MiB)
  arena.close()
  assert.ok(readFreeMemory().lazyFreeBytes - before < MiB)
  assert.ok(!read(arena, 0))
})

test('slots that are dropped are free at once, whatever is filled between them', () => {
  const arena = new KernelArena(memoryCalls, { slotCount: 8, slotBytes: 4 * pageBytes })
  for (let slot = 0; slot < 8; slot += 1) fill(arena, slot, block(slot + 1))
  arena.drop([6, 1, 2, 7])
  const left = [0, 1, 2, 3, 4, 5, 6, 7].filter((slot) => holds(arena, slot, slot + 1))
  assert.deepEqual(left, [0, 3, 4, 5])
  arena.drop([])
  arena.close()
})

test('one page that is taken, whichever, makes a block a miss; its neighbours stay', () => {
  for (const page of [0, 1, 2, 3]) {
    const arena = new KernelArena(memoryCalls, { slotCount: 3, slotBytes: 4 * pageBytes })
    for (const slot of [0, 1, 2]) fill(arena, slot, block(slot + 1))
    arena.settle()
    memoryCalls.advise(arena.address + (4 + page) * pageBytes, pageBytes, advice.pageOut)
    assert.deepEqual(
      [0, 1, 2].map((slot) => holds(arena, slot, slot + 1)),
      [true, false, true],
    )
    fill(arena, 1, block(9))
    assert.ok(holds(arena, 1, 9))
    arena.close()
  }
})

test('pages are released in runs, of which a few wait', () => {
  const released: number[] = []
  const calls = {
    ...memoryCalls,
    advise(address: number, lengthBytes: number, what: number) {
      if (what === advice.free) released.push(lengthBytes / pageBytes)
      memoryCalls.advise(address, lengthBytes, what)
    },
  }
  const arena = new KernelArena(calls, { slotCount: 64, slotBytes: pageBytes })
  for (let slot = 0; slot < 35; slot += 1) fill(arena, slot, block(1, 1))
  assert.deepEqual(released, [limits.arenaReleasePages, limits.arenaReleasePages])
  fill(arena, 50, block(1, 1))
  assert.equal(released.at(-1), 3)
  arena.settle()
  arena.settle()
  assert.deepEqual(released.slice(2), [3, 1])
  arena.close()
})

for (const first of [2n ** 31n - 2n, 2n ** 32n - 2n, 2n ** 63n - 2n, 2n ** 64n - 2n]) {
  test(`generations that wrap behind ${first} are never what a page of zeros has`, () => {
    const arena = new KernelArena(memoryCalls, { slotCount: 1, slotBytes: 4 * pageBytes, firstGeneration: first })
    for (let round = 1; round <= 5; round += 1) {
      fill(arena, 0, block(round))
      const skipped = first + BigInt(round) >= 2n ** 64n ? 1n : 0n
      assert.equal(generation(0), BigInt.asUintN(64, first + BigInt(round) + skipped))
      assert.notEqual(generation(0), 0n)
      assert.ok(holds(arena, 0, round))
      arena.settle()
      memoryCalls.advise(arena.address, 4 * pageBytes, advice.pageOut)
      assert.ok(!read(arena, 0))
    }
    arena.close()
  })
}

test('a child process does not share the pages: they can be taken all the same', () => {
  const arena = new KernelArena(memoryCalls, { slotCount: 256, slotBytes: 4 * pageBytes })
  for (let slot = 0; slot < 256; slot += 1) fill(arena, slot, block(1))
  arena.settle()
  execFileSync('/bin/true')
  memoryCalls.advise(arena.address, 256 * 4 * pageBytes, advice.pageOut)
  const left = Array.from({ length: 256 }, (_, slot) => slot).filter((slot) => holds(arena, slot, 1))
  assert.deepEqual(left, [])
  arena.close()
})
