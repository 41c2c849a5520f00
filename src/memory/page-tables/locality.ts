/**
 * Guest-virtual locality: pages that are near each other for the programs in the guest are used together, wherever they lie
 * physically. One order of all pages, for storing them, and the neighbourhood of one page, for a fault. The idea is that
 * of Zhang, Denniston, Baskakov and Garthwaite (Halite, USENIX ATC 2013): which page comes next cannot be told, which pages
 * go together can.
 */
import type { PageMap } from './page-map.ts'
import type { PageSet } from './page-set.ts'

/** Pages farther apart than one table's reach belong to different things. */
const maxGapPages = 512
/** of a page's mappings that are looked at for the right address space */
const maxMappings = 64

/**
 * All resident pages in guest-virtual order: by address space and address; a page that is mapped several times stands where
 * it is met first. Behind them the pages that no process maps, in physical order.
 *
 * @param map undefined where there is none: then all are in physical order
 */
export function localityOrder(map: PageMap | undefined, resident: PageSet): Int32Array {
  const order = new Int32Array(resident.size)
  let count = 0
  for (let position = 0; map !== undefined && position < map.length; position += 1) {
    const page = map.pageAt(position) ?? -1
    if (map.firstPositionOf(page) !== position || !resident.has(page)) continue
    order[count] = page
    count += 1
  }
  for (let page = 0; page < resident.pageCount; page += 1) {
    if (!resident.has(page) || map?.firstPositionOf(page) !== undefined) continue
    order[count] = page
    count += 1
  }
  return order
}

export interface NeighbourOptions {
  /** pages wanted beside the one that faulted */
  count: number
  /** the address space that is the likeliest one, such as that of the last fault */
  space?: number
}

export interface Neighbours {
  /** the address space in whose order they are; undefined for neighbours in physical order */
  readonly space: number | undefined
  /** pages of the image, the nearest ahead first, then those behind; without the page itself, each once */
  readonly pages: number[]
}

/**
 * The pages beside a page: three quarters ahead, the rest behind, more of one side where the other ends. They lie in the same
 * address space without a gap of 2 MiB; beside a page that no process maps they are physical neighbours.
 */
export function neighboursOf(
  map: PageMap | undefined,
  pageCount: number,
  page: number,
  options: NeighbourOptions,
): Neighbours {
  const { count } = options
  const position = map === undefined ? undefined : positionIn(map, page, options.space)
  if (map === undefined || position === undefined) {
    const step = (at: number, by: number) => (at + by >= 0 && at + by < pageCount ? at + by : undefined)
    return { space: undefined, pages: collect(page, page, count, step, (at) => at) }
  }
  const space = map.spaceAt(position)
  const first = map.arrays.spaceStart[space] ?? 0
  const end = map.arrays.spaceStart[space + 1] ?? 0
  const step = (at: number, by: number) => {
    const next = at + by
    if (next < first || next >= end) return undefined
    return Math.abs(map.virtualPageAt(next) - map.virtualPageAt(at)) <= maxGapPages ? next : undefined
  }
  return { space, pages: collect(page, position, count, step, (at) => map.pageAt(at) ?? page) }
}

function positionIn(map: PageMap, page: number, space: number | undefined): number | undefined {
  const first = map.firstPositionOf(page)
  if (space === undefined) return first
  let position = first
  for (let looked = 0; position !== undefined && looked < maxMappings; looked += 1) {
    if (map.spaceAt(position) === space) return position
    position = map.nextPositionOf(position)
  }
  return first
}

/** Steps from a place to both sides. Pages met again count as steps, so that the work is bounded by the count. */
function collect(
  page: number,
  start: number,
  count: number,
  step: (at: number, by: 1 | -1) => number | undefined,
  pageAt: (at: number) => number,
): number[] {
  const pages = new Set<number>()
  let left = count
  let at: { ahead: number | undefined; behind: number | undefined } = { ahead: start, behind: start }
  const go = (side: 'ahead' | 'behind', steps: number) => {
    for (let taken = 0; taken < steps && left > 0; taken += 1) {
      const from = at[side]
      const next = from === undefined ? undefined : step(from, side === 'ahead' ? 1 : -1)
      at = { ...at, [side]: next }
      if (next === undefined) return
      left -= 1
      if (pageAt(next) !== page) pages.add(pageAt(next))
    }
  }
  go('ahead', Math.ceil((count * 3) / 4))
  go('behind', left)
  go('ahead', left)
  return [...pages]
}
