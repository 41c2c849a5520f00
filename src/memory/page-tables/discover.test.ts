import assert from 'node:assert/strict'
import { test } from 'node:test'
import { discoverPageTables, type PageTables } from './discover.ts'
import { invertedFrameOf } from './entry.ts'
import { frameOfPage, type PhysicalLayout } from './physical-layout.ts'
import { firstKernelPage, SyntheticGuest, wordsOf } from './testing/synthetic-guest.ts'

const small: PhysicalLayout = { pageCount: 4096, lowPageCount: 4096 }
const split: PhysicalLayout = { pageCount: 4096, lowPageCount: 1536 }

/** `virtual page>frame`, in order, of each address space. */
function contents({ map, spaces }: PageTables, layout: PhysicalLayout): string[][] {
  return spaces.map((_, space) => {
    const pages: string[] = []
    const end = map.arrays.spaceStart[space + 1] ?? 0
    for (let position = map.arrays.spaceStart[space] ?? 0; position < end; position += 1) {
      pages.push(`${map.virtualPageAt(position)}>${frameOfPage(layout, map.pageAt(position) ?? 0)}`)
    }
    return pages
  })
}

interface Process {
  root: number
  pages: string[]
}

/** A process with a few stretches of memory, in random frames; some of them are other processes' too. */
function addProcess(guest: SyntheticGuest, levels: number, sharedFrames: number[]): Process {
  const root = guest.newRoot()
  const pages: { virtualPage: number; frame: number }[] = []
  const starts = new Set<number>()
  // Four slots of the user's half are enough: each costs a chain of tables.
  while (starts.size < 4) starts.add(guest.below(2 ** (9 * levels - 1 - 9)) * 512)
  for (const start of starts) {
    for (let index = 0; index < 24; index += 1) {
      if (guest.below(4) === 0) continue
      const shared = sharedFrames[guest.below(sharedFrames.length * 3)]
      const frame = shared ?? guest.newFrame()
      if (shared === undefined && guest.below(5) === 0) sharedFrames.push(frame)
      guest.map(root, start + index, frame)
      pages.push({ virtualPage: start + index, frame })
    }
  }
  pages.sort((one, other) => one.virtualPage - other.virtualPage)
  return { root, pages: pages.map(({ virtualPage, frame }) => `${virtualPage}>${frame}`) }
}

for (const levels of [4, 5] as const) {
  for (const isolated of [false, true]) {
    for (const layout of [small, split]) {
      const kind = `${levels} levels${isolated ? ', isolated' : ''}${layout === split ? ', RAM in two parts' : ''}`
      test(`every process is found, wherever the kernel is: ${kind}`, async () => {
        for (let seed = 1; seed <= 12; seed += 1) {
          const directMapLevel = 1 + (seed % 2)
          const guest = new SyntheticGuest({ seed, levels, layout, isolated, directMapLevel })
          const sharedFrames: number[] = []
          const processes = Array.from({ length: 1 + (seed % 7) }, () => addProcess(guest, levels, sharedFrames))
          // A root whose process has ended: its user's half is empty.
          guest.newRoot()
          guest.fillFree(0.7)
          const { tables, reason } = await discoverPageTables(guest.image(), layout)
          assert.ok(tables !== undefined, `seed ${seed}: ${reason}`)
          assert.equal(tables.levels, levels, `seed ${seed}`)
          assert.equal(tables.directMapPage, guest.directMapPage)
          processes.sort((one, other) => one.root - other.root)
          assert.deepEqual(
            tables.spaces.map(({ root, userRoot }) => [root, userRoot]),
            processes.map(({ root }) => [root, isolated ? root + 1 : undefined]),
            `seed ${seed}`,
          )
          assert.deepEqual(
            contents(tables, layout),
            processes.map(({ pages }) => pages),
          )
          assert.ok(tables.whole)
        }
      })
    }
  }
}

test('a process with a descriptor table of its own in the kernel’s half is one of them', async () => {
  const guest = new SyntheticGuest({ seed: 7, levels: 4, layout: small })
  addProcess(guest, 4, [])
  const special = addProcess(guest, 4, [])
  const empty = Array.from({ length: 256 }, (_, index) => 256 + index).find(
    (index) => guest.entry(special.root, index)[0] === 0,
  )
  const table = guest.newFrame()
  guest.setEntry(special.root, empty ?? 0, wordsOf(table)[0] | 3, 0)
  const { tables } = await discoverPageTables(guest.image(), small)
  assert.equal(tables?.spaces.length, 2)
})

test('the same user’s half is one address space, however many roots have it', async () => {
  const guest = new SyntheticGuest({ seed: 8, levels: 4, layout: small })
  const { root, pages } = addProcess(guest, 4, [])
  const copy = guest.newRoot()
  for (let index = 0; index < 256; index += 1) guest.setEntry(copy, index, ...guest.entry(root, index))
  const { tables } = await discoverPageTables(guest.image(), small)
  assert.ok(tables !== undefined)
  assert.deepEqual(contents(tables, small), [pages])
})

test('large pages of both sizes, forbidden pages, pages that are not there', async () => {
  const layout: PhysicalLayout = { pageCount: 6144, lowPageCount: 6144 }
  const guest = new SyntheticGuest({ seed: 9, levels: 4, layout, directMapLevel: 3 })
  const root = guest.newRoot()
  guest.map(root, 512 * 8, 1024, { level: 2 })
  // PROT_NONE: not present, bit 8, the frame inverted.
  const [low, high] = wordsOf(77)
  const hidden = invertedFrameOf(low, high)
  guest.map(root, 512 * 20, hidden, { flags: 1 << 8 })
  guest.map(root, 512 * 20 + 1, hidden, { flags: 1 << 9 })
  // The same for a large page, of whose frame only the upper bits are inverted, and one that is being moved.
  const largeHidden = invertedFrameOf(...wordsOf(2048))
  guest.map(root, 512 * 21, largeHidden - (largeHidden % 512), { level: 2, flags: (1 << 8) | (1 << 7) })
  guest.map(root, 512 * 22, 2048, { level: 2, flags: 1 << 7 })
  // Closed to the user: no process can have mapped it, nor anything below it.
  guest.map(root, 512 * 20 + 3, 78, { user: false })
  guest.map(root, 512 * 23, 79, { user: false })
  // Beyond the end of RAM: a device.
  guest.map(root, 512 * 20 + 2, 0xfd000)
  // A page of 1 GiB, of which RAM has the first 24 MiB.
  guest.map(root, 512 * 512 * 9, 0, { level: 3 })
  const { tables } = await discoverPageTables(guest.image(), layout)
  assert.ok(tables !== undefined)
  const [pages = []] = contents(tables, layout)
  assert.equal(pages.length, 512 + 1 + 512 + 6144)
  assert.deepEqual(pages.slice(510, 514), ['4606>1534', '4607>1535', '10240>77', '10752>2048'])
  assert.deepEqual(pages.slice(1024, 1026), ['11263>2559', '2359296>0'])
  assert.equal(tables.map.mappingsOf(1024, 10).length, 2)
})

test('memory without such tables has none, and why is said', async () => {
  const layout = small
  const nothing = new SyntheticGuest({ seed: 10, levels: 4, layout })
  nothing.bytes.fill(0)
  const zeros = await discoverPageTables(nothing.image(), layout)
  assert.equal(zeros.tables, undefined)
  assert.match(zeros.reason ?? '', /no page tables as an x86-64 Linux makes them/)
  assert.equal(zeros.resident.size, 0)

  const noise = new SyntheticGuest({ seed: 11, levels: 4, layout })
  noise.bytes.fill(0)
  for (let at = 0; at < noise.bytes.length; at += 4) noise.bytes.writeUInt32LE(noise.below(2 ** 32), at)
  const random = await discoverPageTables(noise.image(), layout)
  assert.equal(random.tables, undefined)
  assert.equal(random.resident.size, layout.pageCount)

  const idle = await discoverPageTables(new SyntheticGuest({ seed: 12, levels: 5, layout }).image(), layout)
  assert.equal(idle.tables, undefined)
  assert.match(idle.reason ?? '', /no process/)
})

test('a kernel that does not map all of RAM one to one is no Linux', async () => {
  const guest = new SyntheticGuest({ seed: 13, levels: 4, layout: small })
  addProcess(guest, 4, [])
  const top = 2 ** 27
  const slot = 256 + Math.floor((guest.directMapPage - firstKernelPage(4)) / top)
  for (let root = 0; root < small.pageCount; root += 1)
    if (guest.entry(root, slot)[0] !== 0) guest.setEntry(root, slot, 0, 0)
  assert.equal((await discoverPageTables(guest.image(), small)).tables, undefined)
})

test('a caller who has no time any more is let go', async () => {
  const guest = new SyntheticGuest({ seed: 14, levels: 4, layout: small })
  const signal = AbortSignal.abort(new Error('enough'))
  await assert.rejects(discoverPageTables(guest.image(), small, { signal }), /enough/)
})
