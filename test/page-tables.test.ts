import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { type Discovery, discoverPageTables, type PageTables } from '../src/memory/page-tables/discover.ts'
import { localityOrder, neighboursOf } from '../src/memory/page-tables/locality.ts'
import { imageOfFile } from '../src/memory/page-tables/memory-image.ts'
import { frameOfPage, type PhysicalLayout, pageOfFrame, q35Layout } from '../src/memory/page-tables/physical-layout.ts'
import { type Kernels, prepareKernels, runSilentGuest, type SilentGuestOptions } from './support/silent-guest.ts'

const MiB = 1024 * 1024
/** virtual pages of the user's half with four levels */
const fourLevelPages = 2 ** 35
const lateKinds = ['heap', 'file', 'huge', 'none', 'zero', 'ldt', 'shared-a', 'shared-b', 'vfork']

/** What a guest said about itself (page-holder.c). */
interface Report {
  /** `kernel`, `meltdown`, `sizes`, `huge` */
  facts: Map<string, string>
  /** `virtual page>frame` of each present page, by process */
  pages: Map<string, string[]>
}

function parseReport(text: string): Report {
  const facts = new Map<string, string>()
  const pages = new Map<string, string[]>()
  let current: string[] = []
  for (const line of text.split(/\r?\n/)) {
    const [letter, ...words] = line.split(' ')
    if (letter === 'I') facts.set(words[0] ?? '', words.slice(1).join(' '))
    if (letter === 'P') {
      current = []
      pages.set(words[1] ?? '', current)
    }
    if (letter !== 'M') continue
    const [virtualPage = 0, frame = 0, count = 0] = words.map((word) => Number.parseInt(word, 16))
    for (let index = 0; index < count; index += 1) current.push(`${virtualPage + index}>${frame + index}`)
  }
  return { facts, pages }
}

/** The same of an address space that was found. */
function pagesOf({ map }: PageTables, layout: PhysicalLayout, space: number): string[] {
  const pages: string[] = []
  const end = map.arrays.spaceStart[space + 1] ?? 0
  for (let position = map.arrays.spaceStart[space] ?? 0; position < end; position += 1) {
    pages.push(`${map.virtualPageAt(position)}>${frameOfPage(layout, map.pageAt(position) ?? 0)}`)
  }
  return pages
}

describe('page tables of real guests, without their symbols', { timeout: 600_000 }, () => {
  let kernels: Kernels

  before(async () => {
    kernels = await prepareKernels('test/support/page-holder.c')
  })
  after(() => kernels[Symbol.asyncDispose]())

  interface Seen extends Report {
    tables: PageTables
    layout: PhysicalLayout
    resident: Discovery['resident']
  }

  /** Boots a guest, finds its address spaces, and compares all of them with what it says about its processes. */
  const look = async (
    options: Omit<SilentGuestOptions, 'initrd' | 'kernel'>,
    kernel: 'packed' | 'bare',
  ): Promise<Seen> => {
    await using guest = await runSilentGuest({ ...options, kernel: kernels[kernel], initrd: kernels.initrd })
    const report = parseReport(guest.report)
    assert.equal(report.facts.get('failed'), undefined)
    const layout = q35Layout(options.sizeBytes)
    const { tables, reason, resident } = await discoverPageTables(
      imageOfFile(guest.memoryFd, options.sizeBytes),
      layout,
    )
    assert.ok(tables !== undefined, reason)
    assert.ok(tables.whole)
    assert.deepEqual([...report.pages.keys()], ['init', ...lateKinds])
    assert.equal(tables.spaces.length, report.pages.size + 1, 'all processes, the one that told, and nothing else')
    const found = new Map(tables.spaces.map((_, space) => [pagesOf(tables, layout, space).join(), space]))
    for (const [kind, pages] of report.pages) {
      assert.ok(pages.length > 10, kind)
      assert.ok(found.delete(pages.join()), `each page of ${kind} is where the guest says, and no page more`)
    }
    return { ...report, tables, layout, resident }
  }

  it('four levels, no KASLR, huge pages', async () => {
    const { tables, facts } = await look({ sizeBytes: 1024 * MiB + 8192, cpu: 'max' }, 'bare')
    assert.equal(tables.levels, 4)
    assert.match(facts.get('kernel') ?? '', /^ffffffff81000000 /, 'the kernel is where it was linked to')
    assert.match(facts.get('huge') ?? '', / 4096 kB/, 'two huge pages are left')
    assert.ok(tables.spaces.every(({ userRoot }) => userRoot === undefined))
  })

  it('five levels and KASLR; order and neighbours', async () => {
    const { tables, facts, pages, layout, resident } = await look({ sizeBytes: 256 * MiB + 8192, cpu: 'max' }, 'packed')
    assert.equal(tables.levels, 5)
    assert.doesNotMatch(facts.get('kernel') ?? '', /^ffffffff81000000 /, 'the kernel has moved')
    const heap = (pages.get('heap') ?? []).map((text) => text.split('>').map(Number))
    assert.ok(
      heap.some(([virtualPage = 0]) => virtualPage >= fourLevelPages),
      'some of it has an address of more than 48 bits',
    )
    checkNeighbours(tables, layout, heap)
    const order = localityOrder(tables.map, resident)
    assert.equal(order.length, resident.size)
    assert.equal(new Set(order).size, resident.size, 'each resident page once')
    assert.ok(order.every((page) => resident.has(page)))
  })

  it('page-table isolation and KASLR', async () => {
    const cpu = 'qemu64,vendor=GenuineIntel'
    const { tables, facts } = await look({ sizeBytes: 256 * MiB + 8192, cpu, append: 'pti=on' }, 'packed')
    assert.equal(facts.get('meltdown'), 'Mitigation: PTI')
    assert.equal(tables.levels, 4)
    assert.deepEqual(
      tables.spaces.map(({ userRoot }) => userRoot),
      tables.spaces.map(({ root }) => root + 1),
      'each root has its copy for the user on the next page',
    )
  })

  it('RAM on both sides of the hole below 4 GiB', async () => {
    const { tables, layout } = await look({ sizeBytes: 3 * 1024 * MiB + 8192, cpu: 'max' }, 'packed')
    assert.ok(layout.lowPageCount < layout.pageCount)
    assert.ok(
      tables.map.arrays.pages.some((page) => page >= layout.lowPageCount),
      'processes use the upper part',
    )
  })

  /** Beside each page of the scattered heap lie the pages that are beside it for its process. */
  const checkNeighbours = ({ map }: PageTables, layout: PhysicalLayout, heap: number[][]) => {
    const pages = heap.map(([, frame = 0]) => pageOfFrame(layout, frame) ?? -1)
    const middle = heap.findIndex(([virtualPage = 0], index) => {
      const ends = [heap[index - 16]?.[0] ?? 0, heap[index + 48]?.[0] ?? 0]
      return ends[0] === virtualPage - 16 && ends[1] === virtualPage + 48
    })
    assert.ok(middle > 0, 'there is a long stretch')
    const [page = 0] = pages.slice(middle)
    const { pages: neighbours } = neighboursOf(map, layout.pageCount, page, { count: 64 })
    assert.deepEqual(neighbours.slice(0, 48), pages.slice(middle + 1, middle + 49))
    assert.deepEqual(neighbours.slice(48), pages.slice(middle - 16, middle).reverse())
    const near = neighbours.filter((neighbour) => Math.abs(neighbour - page) <= 64)
    assert.ok(near.length < 16, `physically they lie elsewhere, but for ${near.length}`)
  }
})
