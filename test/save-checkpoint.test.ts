import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readSync } from 'node:fs'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { promisify } from 'node:util'
import { FileSource } from '../src/checkpoint/file/range-source.ts'
import { Checkpoint } from '../src/checkpoint/file/read.ts'
import { type CapturedVm, saveCheckpoint } from '../src/checkpoint/save/save.ts'
import { discoverPageTables } from '../src/memory/page-tables/discover.ts'
import { imageOfFile } from '../src/memory/page-tables/memory-image.ts'
import { q35Layout } from '../src/memory/page-tables/physical-layout.ts'
import { isRoot } from './support/environment.ts'
import { type Kernels, prepareKernels, runSilentGuest, type SilentGuest } from './support/silent-guest.ts'

const run = promisify(execFile)
const MiB = 1024 * 1024
const pageBytes = 4096
const sizeBytes = 256 * MiB + 8192
const heapMiB = 24

/** What was captured of a guest that is only memory: its devices are of no account here. */
function vmOf(guest: SilentGuest): CapturedVm {
  return {
    machine: {
      machine: 'pc-q35-7.2',
      accelerator: 'tcg',
      cpuCount: 1,
      cpuMaxCount: 1,
      memoryBytes: sizeBytes,
      memorySlotCount: 0,
      memoryMaxBytes: sizeBytes,
      diskCount: 0,
      nicCount: 0,
      sparePortCount: 0,
    },
    capturedAt: new Date(),
    deviceState: { blob: Buffer.from('devices'), blocks: [{ name: 'mem', usedBytes: sizeBytes }] },
    romPages: [],
    memory: { kind: 'base', base: { id: 'base-silent', fd: guest.memoryFd, sizeBytes } },
    qemuVersion: '7.2.22',
    cpuFeatures: [],
  }
}

describe('checkpoints of a real Linux', { timeout: 300_000 }, () => {
  let kernels: Kernels
  let guest: SilentGuest
  let directory: string

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'ramet-save-'))
    kernels = await prepareKernels('test/support/page-holder.c')
    const options = { kernel: kernels.packed, initrd: kernels.initrd, sizeBytes, cpu: 'max' }
    guest = await runSilentGuest({ ...options, append: `-- ${heapMiB}` })
  })
  after(async () => {
    await guest?.[Symbol.asyncDispose]()
    await kernels?.[Symbol.asyncDispose]()
    await rm(directory, { recursive: true, force: true })
  })

  it('hold each page of the guest, those of a process beside each other', async () => {
    const path = join(directory, 'linux')
    const saved = await saveCheckpoint(path, vmOf(guest))
    assert.equal(saved.order.kind, 'virtual', saved.order.reason)
    await using source = await FileSource.open(path)
    const checkpoint = await Checkpoint.open(source, { digest: saved.digest })
    await assertHolds(checkpoint, guest.memoryFd)

    const { tables } = await discoverPageTables(imageOfFile(guest.memoryFd, sizeBytes), q35Layout(sizeBytes))
    const locality = await checkpoint.readLocality()
    assert.deepEqual(locality?.arrays, tables?.map.arrays, 'the map is the one that is found in the guest')
    const heap = longestStretch(locality)
    assert.ok(heap.length >= heapMiB * 256 - 512, `a heap of ${heap.length} pages`)
    const places = heap.map((page) => checkpoint.pages.placeOf(page)?.block ?? -1)
    const blocks = new Set(places)
    const most = Math.ceil(heap.length / checkpoint.pages.blockPages) + 1
    assert.ok(blocks.size <= most, `a heap of ${heap.length} scattered pages is in ${blocks.size} blocks, not ${most}`)
    const steps = places.filter((block, index) => index > 0 && block < (places[index - 1] ?? 0))
    assert.equal(steps.length, 0, 'and in order')
  })

  it('are refused before anything is written when they might not fit', async (context) => {
    if (!isRoot) return context.skip('only root mounts a small file system')
    const mount = await mkdtemp(join(directory, 'small-'))
    await run('mount', ['-t', 'tmpfs', '-o', 'size=520m', 'tmpfs', mount])
    try {
      await assert.rejects(saveCheckpoint(join(mount, 'linux'), vmOf(guest)), { code: 'NO_SPACE' })
      assert.deepEqual(await readdir(mount), [])
    } finally {
      await run('umount', [mount])
    }
  })
})

async function assertHolds(checkpoint: Checkpoint, memoryFd: number): Promise<void> {
  const { pages } = checkpoint
  const page = Buffer.alloc(pageBytes)
  const zeros = Buffer.alloc(pageBytes)
  for (let number = 0; number < pages.pageCount; number += 1) {
    if (pages.kindOf(number) === 'stored') continue
    assert.equal(pages.kindOf(number), 'zero')
    readSync(memoryFd, page, 0, pageBytes, number * pageBytes)
    assert.ok(page.equals(zeros), `page ${number}`)
  }
  for (let block = 0; block < pages.blockCount; block += 1) {
    const bytes = await checkpoint.readBlock(block)
    for (const [slot, number] of pages.pagesOf(block).entries()) {
      readSync(memoryFd, page, 0, pageBytes, number * pageBytes)
      assert.ok(page.equals(bytes.subarray(slot * pageBytes, (slot + 1) * pageBytes)), `page ${number}`)
    }
  }
}

/** Pages of the longest row of adjacent addresses that one process sees, but for those that another sees before it. */
function longestStretch(map: Awaited<ReturnType<Checkpoint['readLocality']>>): number[] {
  assert.ok(map !== undefined)
  const { stretchStart } = map.arrays
  const lengthOf = (stretch: number) => (stretchStart[stretch + 1] ?? map.length) - (stretchStart[stretch] ?? 0)
  let longest = 0
  for (let stretch = 0; stretch < stretchStart.length; stretch += 1)
    if (lengthOf(stretch) > lengthOf(longest)) longest = stretch
  const first = stretchStart[longest] ?? 0
  return Array.from({ length: lengthOf(longest) }, (_, index) => first + index)
    .filter((position) => map.firstPositionOf(map.pageAt(position) ?? 0) === position)
    .map((position) => map.pageAt(position) ?? 0)
}
