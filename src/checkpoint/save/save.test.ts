import assert from 'node:assert/strict'
import { closeSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { BaseWriter, type OpenBase, pageBytes, type Run } from '../../memory/base.ts'
import type { Delta } from '../../memory/delta.ts'
import { q35Layout } from '../../memory/page-tables/physical-layout.ts'
import { SyntheticGuest } from '../../memory/page-tables/testing/synthetic-guest.ts'
import { isZeroPage, splitByZero } from '../../memory/zero-pages.ts'
import { largestCheckpointBytes } from '../file/largest.ts'
import { FileSource } from '../file/range-source.ts'
import { Checkpoint } from '../file/read.ts'
import { fillRandom, randomOf, sampleGuest, withDirectory } from '../file/testing/sample.ts'
import { type CapturedVm, type SaveStage, saveCheckpoint } from './save.ts'

const pageCount = 2048
const layout = q35Layout(pageCount * pageBytes)
const fds: number[] = []
after(() => {
  for (const fd of fds) closeSync(fd)
})

/** A guest with two processes, whose pages lie at random, noise, and pages of zeros. */
function guestMemory(): { memory: Buffer; spaces: number[][] } {
  const guest = new SyntheticGuest({ seed: 21, levels: 4, layout })
  const spaces = [3, 5].map((slot) => {
    const root = guest.newRoot()
    return Array.from({ length: 100 }, (_, index) => {
      const frame = guest.newFrame()
      guest.map(root, slot * 2 ** 20 + index, frame)
      guest.bytes.write(`page ${index} of process ${slot}`, frame * pageBytes)
      return frame
    })
  })
  guest.fillFree(0.3)
  return { memory: guest.bytes, spaces }
}

async function baseOf(memory: Buffer): Promise<OpenBase> {
  using writer = await BaseWriter.create({ id: 'base-test-save', sizeBytes: memory.length })
  for (const { offsetBytes, lengthBytes, zero } of splitByZero(memory)) {
    if (zero) writer.leaveHole(offsetBytes, lengthBytes)
    else writer.write(memory.subarray(offsetBytes, offsetBytes + lengthBytes), offsetBytes)
  }
  const base = writer.seal()
  fds.push(base.fd)
  return base
}

/** Some pages of a guest, as a capture copies them. */
function deltaOf(memory: Buffer, pages: readonly number[]): Delta {
  const runs: Run[] = pages.map((page) => ({ offsetBytes: page * pageBytes, lengthBytes: pageBytes }))
  const bytes = Buffer.concat(
    runs.map(({ offsetBytes, lengthBytes }) => memory.subarray(offsetBytes, offsetBytes + lengthBytes)),
  )
  return { runs, bytes }
}

function vmOf(memory: CapturedVm['memory'], sizeBytes = pageCount * pageBytes): CapturedVm {
  const { parts } = sampleGuest()
  return {
    machine: { ...parts.machine, memoryBytes: sizeBytes, memoryMaxBytes: sizeBytes },
    capturedAt: new Date(1_700_000_000_000),
    deviceState: {
      blob: parts.deviceState,
      blocks: parts.ramBlocks.map((block) => (block.name === 'mem' ? { name: 'mem', usedBytes: sizeBytes } : block)),
    },
    romPages: parts.roms,
    memory,
    qemuVersion: '7.2.22',
    cpuFeatures: ['lm'],
  }
}

/** All pages of a file; those of the base from there. */
async function memoryOf(checkpoint: Checkpoint, base: Buffer): Promise<Buffer> {
  const memory = Buffer.alloc(checkpoint.pages.pageCount * pageBytes)
  for (let page = 0; page < checkpoint.pages.pageCount; page += 1)
    if (checkpoint.pages.kindOf(page) === 'base')
      base.copy(memory, page * pageBytes, page * pageBytes, (page + 1) * pageBytes)
  for (let block = 0; block < checkpoint.pages.blockCount; block += 1) {
    const bytes = await checkpoint.readBlock(block)
    for (const [slot, page] of checkpoint.pages.pagesOf(block).entries())
      bytes.copy(memory, page * pageBytes, slot * pageBytes, (slot + 1) * pageBytes)
  }
  return memory
}

const storedOrder = ({ pages }: Checkpoint): number[] =>
  Array.from({ length: pages.blockCount }, (_, block) => [...pages.pagesOf(block)]).flat()

test('all memory of a guest is saved, in the order of its processes', () =>
  withDirectory(async (directory) => {
    const { memory, spaces } = guestMemory()
    const path = join(directory, 'a')
    const told: [SaveStage, number, number][] = []
    const saved = await saveCheckpoint(path, vmOf({ kind: 'base', base: await baseOf(memory) }), {
      workerCount: 1,
      onProgress: (...what) => told.push(what),
    })
    assert.equal(saved.order.kind, 'virtual')
    assert.match(saved.order.reason, /of 2 processes/)
    await using source = await FileSource.open(path)
    const checkpoint = await Checkpoint.open(source, { digest: saved.digest })
    assert.ok((await memoryOf(checkpoint, Buffer.alloc(0))).equals(memory))
    const order = storedOrder(checkpoint)
    for (const pages of spaces) {
      const at = order.indexOf(pages[0] ?? -1)
      assert.deepEqual(order.slice(at, at + pages.length), pages)
    }
    const locality = await checkpoint.readLocality()
    assert.deepEqual(
      spaces.flat().map((page) => locality?.mappingsOf(page, 9).map(({ virtualPage }) => virtualPage)),
      [3, 5].flatMap((slot) => Array.from({ length: 100 }, (_, index) => [slot * 2 ** 20 + index])),
    )
    assert.equal(saved.residentBytes, (saved.counts.pages - saved.counts.zero) * pageBytes)
    assert.deepEqual([saved.counts.base, saved.fileBytes], [0, source.sizeBytes])
    for (const stage of ['scanning', 'storing'] as const) {
      const last = told.findLast(([of]) => of === stage)
      assert.deepEqual(last?.[1], last?.[2], stage)
    }
    assert.deepEqual((await checkpoint.readDeviceState()).toString().slice(0, 8), 'devices ')
    assert.equal(checkpoint.manifest.createdAt, '2023-11-14T22:13:20.000Z')
  }))

/** A base, and a guest over it that has changed, cleared and rewritten some of its pages. */
async function guestOverBase() {
  const { memory: before } = guestMemory()
  const memory = Buffer.from(before)
  const filled = Array.from({ length: pageCount }, (_, page) => page).filter(
    (page) => !isZeroPage(before, page * pageBytes),
  )
  const [changed, cleared, rewritten] = [filled.slice(-90, -60), filled.slice(-60, -30), filled.slice(-30)]
  for (const page of changed) memory.fill(page % 255 || 1, page * pageBytes, (page + 1) * pageBytes)
  for (const page of cleared) memory.fill(0, page * pageBytes, (page + 1) * pageBytes)
  const base = await baseOf(before)
  return {
    before,
    memory,
    base,
    delta: deltaOf(memory, [...changed, ...cleared, ...rewritten]),
    filled,
    cleared,
    changed,
  }
}

test('what a guest has over its base is saved with the rest of the base', () =>
  withDirectory(async (directory) => {
    const { memory, base, delta, filled, cleared } = await guestOverBase()
    const path = join(directory, 'a')
    const { counts } = await saveCheckpoint(path, vmOf({ kind: 'delta', delta, base }), { workerCount: 1 })
    assert.deepEqual([counts.base, counts.stored], [0, filled.length - cleared.length])
    await using source = await FileSource.open(path)
    assert.ok((await memoryOf(await Checkpoint.open(source), Buffer.alloc(0))).equals(memory))
  }))

test('a base that is kept is referred to: only what differs is stored', () =>
  withDirectory(async (directory) => {
    const { before, memory, base, delta, filled, cleared, changed } = await guestOverBase()
    const path = join(directory, 'a')
    const reference = { id: base.id, digest: 'c'.repeat(64) }
    const vm = { ...vmOf({ kind: 'delta', delta, base }), reference }
    const { counts } = await saveCheckpoint(path, vm, { workerCount: 1 })
    assert.equal(counts.stored, changed.length)
    assert.equal(counts.base, filled.length - cleared.length - changed.length)
    await using source = await FileSource.open(path)
    const checkpoint = await Checkpoint.open(source)
    assert.deepEqual(checkpoint.manifest.base, reference)
    assert.ok((await memoryOf(checkpoint, before)).equals(memory))
  }))

test('memory that was never shared: all there is of it are its own pages', () =>
  withDirectory(async (directory) => {
    const { memory } = guestMemory()
    const filled = Array.from({ length: pageCount }, (_, page) => page).filter(
      (page) => !isZeroPage(memory, page * pageBytes),
    )
    const path = join(directory, 'a')
    await saveCheckpoint(path, vmOf({ kind: 'delta', delta: deltaOf(memory, filled) }), { workerCount: 1 })
    await using source = await FileSource.open(path)
    assert.ok((await memoryOf(await Checkpoint.open(source), Buffer.alloc(0))).equals(memory))
  }))

test('a guest without page tables is saved as it lies, and why is said', () =>
  withDirectory(async (directory) => {
    const memory = Buffer.alloc(64 * pageBytes)
    for (const page of [50, 3, 20]) memory.fill(page, page * pageBytes, (page + 1) * pageBytes)
    const path = join(directory, 'a')
    const vm = vmOf({ kind: 'base', base: await baseOf(memory) }, memory.length)
    const { order } = await saveCheckpoint(path, vm, { workerCount: 1 })
    assert.equal(order.kind, 'physical')
    await using source = await FileSource.open(path)
    const checkpoint = await Checkpoint.open(source)
    assert.deepEqual(storedOrder(checkpoint), [3, 20, 50])
    assert.deepEqual(checkpoint.manifest.order, order)
    assert.match(order.reason, /no page tables as an x86-64 Linux makes them/)
  }))

test('memory that cannot be compressed takes no more than was asked for', () =>
  withDirectory(async (directory) => {
    const memory = Buffer.alloc(512 * pageBytes)
    fillRandom(memory, randomOf(5))
    const vm = vmOf({ kind: 'base', base: await baseOf(memory) }, memory.length)
    const saved = await saveCheckpoint(join(directory, 'a'), vm, { workerCount: 1, blockPages: 1 })
    const { parts } = sampleGuest()
    const most = largestCheckpointBytes({ ...parts, machine: vm.machine, deviceState: vm.deviceState.blob }, 512)
    assert.ok(saved.fileBytes <= most, `${saved.fileBytes} of ${most}`)
    assert.equal(saved.counts.storedBytes, memory.length)
  }))

for (const stage of ['scanning', 'storing'] as const)
  test(`who gives up while ${stage} leaves nothing behind`, () =>
    withDirectory(async (directory) => {
      const { memory } = guestMemory()
      const giveUp = new AbortController()
      const vm = vmOf({ kind: 'base', base: await baseOf(memory) })
      const saving = saveCheckpoint(join(directory, 'a'), vm, {
        workerCount: 1,
        signal: giveUp.signal,
        onProgress: (of) => {
          if (of === stage) giveUp.abort(new Error('enough'))
        },
      })
      await assert.rejects(saving, { message: 'enough' })
      assert.deepEqual(await readdir(directory), [])
    }))
