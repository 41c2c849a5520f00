import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PageMap as LocalityMap } from '../../../memory/page-tables/page-map.ts'
import { Bitmap } from '../../file/bitmap.ts'
import { PageMap } from '../../file/page-map.ts'
import { randomOf } from '../../file/testing/sample.ts'
import { policyNames } from '../protocol.ts'
import { choosePolicy } from './choose.ts'
import type { PolicyView } from './policy.ts'

const pageCount = 32_768
const heapPages = 25_600

interface World {
  readonly view: PolicyView
  /** the pages of the heap in the order of their addresses, wherever they lie */
  readonly heap: readonly number[]
  readonly sent: Set<number>
}

/** A guest whose heap lies in shuffled pages; every 50th page is zeros. */
function world({ locality = true, seed = 1 } = {}): World {
  const random = randomOf(seed)
  const all = Uint32Array.from({ length: pageCount }, (_, page) => page)
  for (let index = pageCount - 1; index > 0; index -= 1) {
    const other = random(index + 1)
    const page = all[index] ?? 0
    all[index] = all[other] ?? 0
    all[other] = page
  }
  const heap = [...all.subarray(0, heapPages)]
  const zero = new Bitmap(pageCount)
  for (let page = 0; page < pageCount; page += 50) zero.set(page)
  const order = all.filter((page) => !zero.get(page))
  const pages = new PageMap({ pageCount, blockPages: 32, zero, base: new Bitmap(pageCount), order }, 'test')
  const map = new LocalityMap({
    ...{ pageCount, pages: Int32Array.from(heap), stretchStart: Int32Array.of(0) },
    ...{ stretchPage: Float64Array.of(0x7f0000), spaceStart: Int32Array.of(0, heapPages) },
  })
  const sent = new Set<number>()
  const view = { pages, locality: locality ? map : undefined, isSent: (page: number) => sent.has(page) }
  return { view, heap, sent }
}

/** Walks over pages as a guest does that waits for each which was not brought. @returns faults */
function faultsOf(
  name: (typeof policyNames)[number],
  { view, sent }: World,
  walk: Iterable<number>,
  record: readonly number[] = [],
): number {
  const policy = choosePolicy(name, view, record)
  let faults = 0
  for (const page of walk) {
    if (sent.has(page)) continue
    faults += 1
    for (const along of [page, ...policy.onFault(page)]) sent.add(along)
  }
  return faults
}

test('a walk over a heap of 100 MiB faults at most at one page in twenty of those it needs, wherever they lie', () => {
  for (const locality of [true, false]) {
    const every = faultsOf('none', world({ locality }), world().heap)
    const { heap, ...rest } = world({ locality })
    const faults = faultsOf('adaptive', { heap, ...rest }, heap)
    assert.equal(every, heapPages)
    assert.ok(faults <= every / 20, `${faults} of ${every}, locality ${locality}`)
  }
})

test('a guest that is ahead of the push of its record finds the rest of it brought, in whatever order it goes', () => {
  const { heap } = world()
  // All over the heap: its order of addresses would be of no use.
  const record = heap.map((_, index) => heap[(index * 7919) % heapPages] ?? 0)
  // Nothing is pushed here at all: the guest is ahead from the first page on, and begins in the middle.
  const walk = [...record.slice(record.length / 2), ...record.slice(0, record.length / 2)]
  assert.ok(faultsOf('recorded', world(), walk, record) <= heapPages / 100)
})

test('what is not in the record is left to the adaptive policy', () => {
  const { heap, ...rest } = world()
  const [record, walk] = [heap.slice(0, heapPages / 2), heap.slice(heapPages / 2)]
  assert.ok(faultsOf('recorded', { heap, ...rest }, walk, record) <= walk.length / 20)
})

test('several walks at once do not disturb one another', () => {
  const { heap, ...rest } = world()
  const parts = [0, 1, 2, 3].map((part) => heap.slice((part * heapPages) / 4, ((part + 1) * heapPages) / 4))
  const mixed = Array.from({ length: heapPages }, (_, step) => parts[step % 4]?.[Math.floor(step / 4)] ?? 0)
  assert.ok(faultsOf('adaptive', { heap, ...rest }, mixed) <= heapPages / 20)
})

test('a walk that jumps to and fro on its way is followed too', () => {
  const random = randomOf(13)
  const { heap, ...rest } = world()
  // In groups of a hundred pages, each in an order of its own.
  const walk = Array.from({ length: heapPages / 100 }, (_, group) =>
    heap.slice(group * 100, (group + 1) * 100),
  ).flatMap((group) => group.map((page) => ({ page, at: random(1000) })).sort((one, other) => one.at - other.at))
  const faults = faultsOf(
    'adaptive',
    { heap, ...rest },
    walk.map(({ page }) => page),
  )
  assert.ok(faults <= heapPages / 20, `${faults} faults`)
})

test('a walk backwards is followed too', () => {
  const { heap, ...rest } = world()
  assert.ok(faultsOf('adaptive', { heap, ...rest }, heap.toReversed()) <= heapPages / 20)
})

test('touches without any order bring little along that is of no use', () => {
  const random = randomOf(7)
  const { heap, view, sent } = world()
  const touched = Array.from({ length: 500 }, () => heap[random(heapPages)] ?? 0)
  const faults = faultsOf('adaptive', { heap, view, sent }, touched)
  assert.ok(sent.size / faults < 10, `${sent.size} pages for ${faults} faults`)
})

test('pages that no process maps stop bringing others along when none of them is of use', () => {
  const random = randomOf(9)
  const { heap, view, sent } = world()
  const mapped = new Set(heap)
  const unmapped = Array.from({ length: pageCount }, (_, page) => page).filter((page) => !mapped.has(page))
  const policy = choosePolicy('adaptive', view)
  let brought = 0
  for (let step = 0; step < 2000; step += 1) {
    const page = unmapped[random(unmapped.length)] ?? 0
    if (sent.has(page)) continue
    sent.add(page)
    if (step >= 1000) brought += policy.onFault(page).length
    else policy.onFault(page)
  }
  assert.ok(brought < 1000, `${brought} pages`)
})

test('no policy brings a page twice, or one that was sent, however pages are mapped', () => {
  // Each page at two neighbouring addresses.
  const pages = Int32Array.from({ length: 2000 }, (_, position) => Math.floor(position / 2))
  const map = new LocalityMap({
    ...{ pageCount: 1000, pages, stretchStart: Int32Array.of(0), stretchPage: Float64Array.of(16) },
    spaceStart: Int32Array.of(0, 2000),
  })
  const order = Uint32Array.from({ length: 1000 }, (_, page) => page)
  const parts = { pageCount: 1000, blockPages: 32, zero: new Bitmap(1000), base: new Bitmap(1000), order }
  for (const name of policyNames) {
    const random = randomOf(3)
    const sent = new Set<number>()
    const view = { pages: new PageMap(parts, 'test'), locality: map, isSent: (page: number) => sent.has(page) }
    const policy = choosePolicy(name, view)
    for (let step = 0; step < 200; step += 1) {
      const page = random(1000)
      if (sent.has(page)) continue
      const along = policy.onFault(page)
      assert.equal(new Set(along).size, along.length, name)
      assert.ok(!along.some((other) => sent.has(other)), name)
      for (const other of [page, ...along]) sent.add(other)
    }
  }
})
