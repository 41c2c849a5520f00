/**
 * Finds out which pages of a scan are roots, and how many levels lie under them. What gives a Linux kernel away is its
 * direct map: all of RAM, one to one, somewhere in the kernel's half (Documentation/x86/x86_64/mm.rst). KASLR moves it
 * as a whole. A group of pages is the roots' if a walk of its kernel's half finds most of RAM at one distance, and the
 * page itself among it. Read with a wrong number of levels, tables give no such map.
 */
import { limits } from '../../shared/limits.ts'
import type { RootScan } from './root-scan.ts'
import type { TableReader } from './table-reader.ts'
import { finishWalk, walkTables } from './walk.ts'

export interface KernelHalf {
  readonly levels: 4 | 5
  /** frames of the tables that share exactly this half */
  readonly roots: readonly number[]
  /** virtual page at which RAM is mapped one to one from frame 0 on */
  readonly directMapPage: number
}

/** @throws the signal's reason when aborted; what reading the image throws */
export async function findKernelHalf(
  reader: TableReader,
  scan: RootScan,
  options: { signal?: AbortSignal } = {},
): Promise<KernelHalf | undefined> {
  const { pageCount } = reader.layout
  // Every process has a root, so theirs is one of the largest groups.
  const groups = [...scan.groups.values()].sort((one, other) => other.length - one.length || first(one) - first(other))
  // Twice what a direct map of small pages takes, and time for a few groups that mislead.
  const allowanceOfOne = Math.ceil(pageCount / 256) + limits.pageTableSpareCount
  let left = 4 * allowanceOfOne
  for (const roots of groups.slice(0, limits.pageTableGroupCount)) {
    // Four first: read with one level too many, pages of data are taken for tables, which costs ten times as much.
    for (const levels of [4, 5] as const) {
      const allowance = Math.min(left, allowanceOfOne)
      reader.allow(allowance)
      const directMapPage = await findDirectMap(reader, first(roots), levels, options.signal)
      left -= allowance - reader.left
      if (directMapPage !== undefined) return { levels, roots, directMapPage }
    }
  }
  return undefined
}

const first = (frames: readonly number[]) => frames[0] ?? 0

async function findDirectMap(
  reader: TableReader,
  root: number,
  levels: 4 | 5,
  signal: AbortSignal | undefined,
): Promise<number | undefined> {
  const count = new DistanceCount(root)
  const walk = walkTables(reader, {
    root,
    levels,
    half: 'kernel',
    visit: (virtualPage, frame, pages) => count.add(virtualPage, frame, pages),
    onceEach: true,
    badEntryCount: limits.pageTableBadCount,
  })
  await finishWalk(walk, signal)
  const { distance, pages } = count.best()
  return pages * 2 >= reader.layout.pageCount && count.rootDistances.has(distance) ? distance : undefined
}

/** Counts pages by the distance of their virtual from their physical place. */
class DistanceCount {
  /** at which the root itself is mapped */
  readonly rootDistances = new Set<number>()
  readonly #root: number
  readonly #pages = new Map<number, number>()
  #distance = 0
  #run = 0

  constructor(root: number) {
    this.#root = root
  }

  add(virtualPage: number, frame: number, pages: number): void {
    const distance = virtualPage - frame
    if (distance !== this.#distance) this.#flush()
    this.#distance = distance
    this.#run += pages
    if (this.#root >= frame && this.#root < frame + pages) this.rootDistances.add(distance)
  }

  #flush(): void {
    const before = this.#pages.get(this.#distance)
    // Pages from everywhere (vmalloc) have a distance each; the direct map comes before them.
    if (before !== undefined || this.#pages.size < limits.pageTableDistanceCount) {
      this.#pages.set(this.#distance, (before ?? 0) + this.#run)
    }
    this.#run = 0
  }

  best(): { distance: number; pages: number } {
    this.#flush()
    let best = { distance: 0, pages: 0 }
    for (const [distance, pages] of this.#pages) if (pages > best.pages) best = { distance, pages }
    return best
  }
}
