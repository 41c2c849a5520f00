import type { OpenBase } from '../../src/memory/base.ts'
import { discoverPageTables } from '../../src/memory/page-tables/discover.ts'
import { imageOfFile } from '../../src/memory/page-tables/memory-image.ts'
import type { PageMap } from '../../src/memory/page-tables/page-map.ts'
import { q35Layout } from '../../src/memory/page-tables/physical-layout.ts'

/** frames that physical readahead of a usual size would bring along */
const nearFrames = 16

/**
 * How a guest's physical memory is scattered: of the adjacent virtual pages of the process that has most of them, which is the
 * one with the heap, the part whose frames are near each other.
 *
 * @returns 0 to 1; NaN where there are no processes
 */
export async function nearShare(base: OpenBase): Promise<number> {
  const { tables } = await discoverPageTables(imageOfFile(base.fd, base.sizeBytes), q35Layout(base.sizeBytes))
  if (tables === undefined) return Number.NaN
  const counts = tables.spaces.map((_, space) => countNear(tables.map, space))
  const most = counts.reduce((one, other) => (other.adjacent > one.adjacent ? other : one), { adjacent: 0, near: 0 })
  return most.near / most.adjacent
}

/** Pairs of adjacent virtual pages of one address space of a map, and of these the near ones. */
export function countNear(map: PageMap, space: number): { adjacent: number; near: number } {
  const { spaceStart } = map.arrays
  let adjacent = 0
  let near = 0
  for (let at = (spaceStart[space] ?? 0) + 1; at < (spaceStart[space + 1] ?? 0); at += 1) {
    if (map.virtualPageAt(at) !== map.virtualPageAt(at - 1) + 1) continue
    adjacent += 1
    if (Math.abs((map.pageAt(at) ?? 0) - (map.pageAt(at - 1) ?? 0)) <= nearFrames) near += 1
  }
  return { adjacent, near }
}
