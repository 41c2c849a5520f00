/**
 * From the memory of a guest that stands still to the address spaces of its processes, with nothing else known: no
 * registers, no symbols, no word about its kernel but that it is an x86-64 Linux.
 */
import { assert } from '../../shared/assert.ts'
import { limits } from '../../shared/limits.ts'
import { pageBytes } from '../base.ts'
import { findKernelHalf, type KernelHalf } from './kernel-half.ts'
import type { MemoryImage } from './memory-image.ts'
import type { PageMap } from './page-map.ts'
import { PageMapBuilder } from './page-map-builder.ts'
import type { PageSet } from './page-set.ts'
import { type PhysicalLayout, pageOfFrame } from './physical-layout.ts'
import { isUserCopy, keyOfHalf, type RootScan, scanForRoots, sharesKernelHalf } from './root-scan.ts'
import { maxLevels, TableReader } from './table-reader.ts'
import { finishWalk, walkTables } from './walk.ts'

export interface AddressSpace {
  /** frame of the uppermost table, the kernel's one of a pair */
  readonly root: number
  /** frame of the user's copy of it, where the guest isolates its page tables */
  readonly userRoot: number | undefined
  /** mappings of pages of RAM, 4 KiB each */
  readonly pageCount: number
}

export interface PageTables {
  readonly levels: 4 | 5
  /** virtual page at which the kernel sees all of RAM, from frame 0 on */
  readonly directMapPage: number
  /** those in which anything is mapped, by root; indices are those of `map` */
  readonly spaces: readonly AddressSpace[]
  readonly map: PageMap
  /** whether every table of every space was read; false when a limit came first */
  readonly whole: boolean
}

export interface Discovery {
  readonly tables: PageTables | undefined
  /** why there are none, one sentence for people; undefined when there are */
  readonly reason: string | undefined
  /** pages that are not all zeros */
  readonly resident: PageSet
}

/**
 * Work and memory are bounded by the size of the image, whatever is in it. Others have a turn every few milliseconds.
 *
 * @throws the signal's reason when aborted; what reading the image throws
 */
export async function discoverPageTables(
  image: MemoryImage,
  layout: PhysicalLayout,
  options: { signal?: AbortSignal } = {},
): Promise<Discovery> {
  assert(image.sizeBytes === layout.pageCount * pageBytes, 'the layout is that of the image')
  const scan = await scanForRoots(image, layout, options)
  const reader = new TableReader(image, layout)
  const kernel = await findKernelHalf(reader, scan, options)
  const { resident } = scan
  if (kernel === undefined) {
    return { tables: undefined, reason: 'the guest has no page tables as an x86-64 Linux makes them', resident }
  }
  const roots = findRoots(reader, scan, kernel)
  const tables = await walkSpaces(reader, kernel, roots, options)
  if (tables.spaces.length === 0) {
    return { tables: undefined, reason: 'no process of the guest has memory of its own', resident }
  }
  return { tables, reason: undefined, resident }
}

interface Root {
  frame: number
  userRoot: number | undefined
}

/** The roots with something in their user's half, each of these halves once, by frame. */
function findRoots(reader: TableReader, scan: RootScan, kernel: KernelHalf): Root[] {
  reader.allow(Math.ceil(reader.layout.pageCount / 16) + limits.pageTableSpareCount)
  const model = reader.read(kernel.roots[0] ?? 0, maxLevels)?.slice()
  if (model === undefined) return []
  const exact = new Set(kernel.roots)
  const others = [...scan.groups.values()].filter((group) => group !== kernel.roots).flat()
  const roots: Root[] = []
  const halves = new Set([keyOfEmptyHalf])
  for (const frame of [...kernel.roots, ...others]) {
    const table = reader.read(frame, 1)
    if (table === undefined) break
    if (!exact.has(frame) && !sharesKernelHalf(table, model, limits.pageTableExtraCount)) continue
    const half = keyOfHalf(table, 0, 'user')
    if (halves.has(half)) continue
    halves.add(half)
    roots.push({ frame, userRoot: findUserRoot(reader, frame, table) })
  }
  return roots.sort((one, other) => one.frame - other.frame)
}

const keyOfEmptyHalf = keyOfHalf(new Uint32Array(0), 0, 'user')

/** Linux allocates such a pair as two pages, the kernel's one at the even frame. */
function findUserRoot(reader: TableReader, frame: number, table: Uint32Array): number | undefined {
  if (frame % 2 !== 0) return undefined
  const sister = reader.read(frame + 1, 2)
  return sister !== undefined && isUserCopy(sister, table) ? frame + 1 : undefined
}

async function walkSpaces(
  reader: TableReader,
  { levels, directMapPage }: KernelHalf,
  roots: readonly Root[],
  { signal }: { signal?: AbortSignal },
): Promise<PageTables> {
  const { layout } = reader
  const builder = new PageMapBuilder(
    layout.pageCount,
    layout.pageCount * limits.pageTableMappingFactor + limits.pageTableSpareCount,
  )
  const spaces: AddressSpace[] = []
  let whole = true
  reader.allow(Math.ceil(layout.pageCount / 8) + limits.pageTableSpareCount)
  for (const { frame, userRoot } of roots) {
    builder.beginSpace()
    const walk = walkTables(reader, {
      root: frame,
      levels,
      half: 'user',
      visit: (virtualPage, at, pages) => builder.add(virtualPage, pageOfFrame(layout, at) ?? 0, pages),
      badEntryCount: limits.pageTableBadCount,
    })
    const walked = await finishWalk(walk, signal)
    // A root that was freed, or never was one: its tables hold other things by now.
    const isSpace = walked.pages > 0 && walked.bad * 8 <= walked.pages
    if (isSpace) spaces.push({ root: frame, userRoot, pageCount: walked.pages })
    else builder.dropSpace()
    if (isSpace && !walked.whole) whole = false
  }
  return { levels, directMapPage, spaces, map: builder.build(), whole: whole && !builder.isFull }
}
