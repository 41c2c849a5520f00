/**
 * Guest memory is the guest's word. Whatever it holds: the search ends, reads no more than it is allowed to, and
 * what it finds lies within the image. A failure names its seed; `RAMET_SEED=<seed>` runs that one alone, and
 * `RAMET_FUZZ_FACTOR=<n>` runs n times as many.
 */
import assert from 'node:assert/strict'
import process from 'node:process'
import { test } from 'node:test'
import { limits } from '../../shared/limits.ts'
import { discoverPageTables } from './discover.ts'
import { entryCount } from './entry.ts'
import { localityOrder, neighboursOf } from './locality.ts'
import { frameOfPage, type PhysicalLayout } from './physical-layout.ts'
import { SyntheticGuest, wordsOf } from './testing/synthetic-guest.ts'

const pageBytes = 4096
const layout: PhysicalLayout = { pageCount: 2048, lowPageCount: 1024 }

async function checkBounded(guest: SyntheticGuest, what: string): Promise<void> {
  let tables = 0
  const image = guest.image((bytes) => {
    if (bytes === pageBytes) tables += 1
  })
  const found = await discoverPageTables(image, layout)
  // Kernel halves, roots and spaces have an allowance each.
  const allowed = layout.pageCount * (4 / 256 + 1 / 16 + 1 / 8) + 6 * limits.pageTableSpareCount
  assert.ok(tables <= allowed + 4, `${what}: ${tables} tables read`)
  const map = found.tables?.map
  assert.ok((map?.length ?? 0) <= layout.pageCount * limits.pageTableMappingFactor + limits.pageTableSpareCount, what)
  for (let space = 0; map !== undefined && space < map.spaceCount; space += 1) {
    let last = -1
    const end = map.arrays.spaceStart[space + 1] ?? 0
    for (let position = map.arrays.spaceStart[space] ?? 0; position < end; position += 1) {
      assert.ok(map.virtualPageAt(position) > last, `${what}: addresses ascend`)
      last = map.virtualPageAt(position)
    }
  }
  const order = localityOrder(map, found.resident)
  assert.equal(new Set(order).size, found.resident.size, `${what}: each resident page once`)
  assert.ok(
    order.every((page) => found.resident.has(page)),
    what,
  )
  for (let times = 0; times < 20; times += 1) {
    const page = guest.below(layout.pageCount)
    const { pages } = neighboursOf(map, layout.pageCount, page, { count: 32, space: guest.below(5) })
    assert.ok(pages.length <= 32 && !pages.includes(page), what)
    assert.ok(
      pages.every((other) => other >= 0 && other < layout.pageCount),
      what,
    )
  }
}

function populated(seed: number): { guest: SyntheticGuest; roots: number[] } {
  const guest = new SyntheticGuest({ seed, levels: seed % 2 === 0 ? 4 : 5, layout, isolated: seed % 3 === 0 })
  const roots = [guest.newRoot(), guest.newRoot(), guest.newRoot()]
  for (const root of roots) {
    for (let page = 0; page < 60; page += 1) guest.map(root, guest.below(4) * 600_000 + page, guest.anyFrame())
  }
  return { guest, roots }
}

const somePage = (guest: SyntheticGuest) => guest.below(layout.pageCount)

/** Ways to spoil a guest. */
const damages: Record<string, (guest: SyntheticGuest, roots: number[]) => void> = {
  'words of tables overwritten': (guest) => {
    for (let page = 0; page < layout.pageCount; page += 1) {
      const frame = frameOfPage(layout, page)
      const index = guest.below(entryCount)
      const [low] = guest.entry(frame, index)
      if (low !== 0 || guest.below(8) === 0) guest.setEntry(frame, index, guest.below(2 ** 32), guest.below(2 ** 32))
    }
  },
  'bits of tables flipped': (guest) => {
    for (let times = 0; times < 4000; times += 1) {
      const frame = guest.anyFrame()
      const index = guest.below(entryCount)
      const [low, high] = guest.entry(frame, index)
      if (low !== 0) guest.setEntry(frame, index, low ^ (1 << guest.below(32)), high)
    }
  },
  'a web of tables': (guest, roots) => {
    for (let page = 0; page < layout.pageCount; page += 1) {
      const frame = frameOfPage(layout, page)
      if (roots.includes(frame) || frame === guest.kernelRoot || guest.below(3) === 0) continue
      for (let index = 0; index < entryCount; index += 1) {
        const [low, high] = wordsOf(guest.anyFrame())
        guest.setEntry(frame, index, low | 0x67, high)
      }
    }
  },
  'roots that lead back to themselves': (guest, roots) => {
    for (const root of roots) {
      for (let index = 0; index < 256; index += 1)
        guest.setEntry(root, index, wordsOf(root)[0] | 0x67, wordsOf(root)[1])
    }
  },
  'everything at every address': (guest, roots) => {
    // One table of each level, each entry of which leads to the next: 512 to the power of the levels mappings.
    const chain = [guest.newFrame(), guest.newFrame(), guest.newFrame(), guest.newFrame()]
    for (const [depth, frame] of chain.entries()) {
      const [low, high] = wordsOf(chain[depth + 1] ?? somePage(guest) % layout.lowPageCount)
      for (let index = 0; index < entryCount; index += 1) guest.setEntry(frame, index, low | 0x67, high)
    }
    for (const root of roots) {
      const [low, high] = wordsOf(chain[0] ?? 0)
      for (let index = 0; index < 256; index += 1) guest.setEntry(root, index, low | 0x67, high)
    }
  },
  'a thousand roots': (guest, roots) => {
    for (let page = 0; page < layout.pageCount / 2; page += 1) {
      const frame = guest.anyFrame()
      for (let index = 0; index < entryCount; index += 1) {
        guest.setEntry(frame, index, ...guest.entry(roots[guest.below(roots.length)] ?? 0, index))
      }
      guest.setEntry(frame, guest.below(256), wordsOf(guest.anyFrame())[0] | 0x67, 0)
    }
  },
  'different kernel halves everywhere': (guest, roots) => {
    for (let page = 0; page < layout.pageCount / 2; page += 1) {
      const frame = guest.anyFrame()
      if (roots.includes(frame)) continue
      for (let index = 0; index < entryCount; index += 1) guest.setEntry(frame, index, 0, 0)
      for (let times = 0; times < 20; times += 1) {
        const [low, high] = wordsOf(guest.anyFrame())
        guest.setEntry(frame, 256 + guest.below(256), low | 0x63, high)
      }
    }
  },
}

const { RAMET_SEED: only, RAMET_FUZZ_FACTOR: factor = '1' } = process.env
const seeds = only === undefined ? Array.from({ length: 10 * Number(factor) }, (_, index) => index + 1) : [Number(only)]

for (const [name, damage] of Object.entries(damages)) {
  test(`a guest with ${name}`, async () => {
    for (const seed of seeds) {
      const { guest, roots } = populated(seed)
      damage(guest, roots)
      await checkBounded(guest, `seed ${seed}`)
    }
  })
}
