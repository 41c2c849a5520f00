/**
 * The section `locality`: which pages lie beside each other for the programs in the guest, as it was found when the
 * checkpoint was made. It is a hint: a restore without it goes by physical order.
 */
import { PageMap, type PageMapArrays } from '../../memory/page-tables/page-map.ts'
import { limits } from '../../shared/limits.ts'
import { decodeNumbers, encodeNumbers } from './numbers.ts'

/** number of positions, of stretches, of address spaces */
const countsBytes = 12

/** Virtual addresses have 57 bits, those of processes one less. */
const virtualPageEnd = 2 ** 44

/** Length of the section before compression. */
export function localityBytes({ arrays }: PageMap): number {
  return lengthOf(arrays.pages.length, arrays.stretchStart.length, arrays.spaceStart.length - 1)
}

function lengthOf(positions: number, stretches: number, spaces: number): number {
  return countsBytes + 4 * (positions + 3 * stretches + spaces)
}

/** That a map of so many pages of memory can have: none has more mappings than are kept, or more roots than pages. */
export function largestLocalityBytes(pageCount: number): number {
  const positions = pageCount * limits.pageTableMappingFactor + limits.pageTableSpareCount
  return Math.min(limits.checkpointLocalityBytes, lengthOf(positions, positions, pageCount))
}

/** @returns empty for a map that has nothing in it, or is longer than a reader takes */
export function encodeLocality(map: PageMap | undefined): Buffer {
  if (map === undefined || map.length === 0 || localityBytes(map) > largestLocalityBytes(map.arrays.pageCount))
    return Buffer.alloc(0)
  const { pages, stretchStart, stretchPage, spaceStart } = map.arrays
  const counts = Buffer.alloc(countsBytes)
  counts.writeUInt32LE(pages.length, 0)
  counts.writeUInt32LE(stretchStart.length, 4)
  counts.writeUInt32LE(spaceStart.length - 1, 8)
  return Buffer.concat([
    counts,
    encodeNumbers(pages),
    encodeNumbers(stretchStart),
    encodeNumbers(Uint32Array.from(stretchPage, (page) => page % 2 ** 32)),
    encodeNumbers(Uint32Array.from(stretchPage, (page) => Math.floor(page / 2 ** 32))),
    // The last one is the number of positions.
    encodeNumbers(spaceStart.subarray(0, -1)),
  ])
}

/**
 * @param bytes not empty
 * @param pageCount of guest RAM
 * @param wrong makes the error that is thrown, of what is wrong
 */
export function decodeLocality(bytes: Buffer, pageCount: number, wrong: (why: string) => Error): PageMap {
  if (bytes.length < countsBytes) throw wrong('is cut off')
  const [positions, stretches, spaces] = [bytes.readUInt32LE(0), bytes.readUInt32LE(4), bytes.readUInt32LE(8)]
  if (bytes.length !== lengthOf(positions, stretches, spaces)) throw wrong('has another length than its parts')
  let end = countsBytes
  const take = (count: number) => {
    end += 4 * count
    return decodeNumbers(bytes.subarray(end - 4 * count, end))
  }
  const pages = take(positions)
  const stretchStart = take(stretches)
  const [low, high] = [take(stretches), take(stretches)]
  const starts = take(spaces)
  const spaceStart = new Uint32Array(spaces + 1)
  spaceStart.set(starts)
  spaceStart[spaces] = positions
  const arrays = {
    pageCount,
    pages: signed(pages),
    stretchStart: signed(stretchStart),
    stretchPage: Float64Array.from(low, (word, index) => (high[index] ?? 0) * 2 ** 32 + word),
    spaceStart: signed(spaceStart),
  }
  const why = whyImpossible(arrays)
  if (why !== undefined) throw wrong(why)
  return new PageMap(arrays)
}

/** What is too large becomes negative, which no check lets pass. */
function signed(numbers: Uint32Array<ArrayBuffer>): Int32Array {
  return new Int32Array(numbers.buffer)
}

/** @returns what contradicts itself, undefined when nothing does */
function whyImpossible({ pageCount, pages, stretchStart, stretchPage, spaceStart }: PageMapArrays): string | undefined {
  if (pages.length === 0) return 'has no mappings'
  if (!pages.every((page) => page >= 0 && page < pageCount)) return 'tells of pages that there are not'
  if (stretchStart[0] !== 0 || !ascends(stretchStart, 1) || (stretchStart.at(-1) ?? 0) >= pages.length)
    return 'has stretches that are not in order'
  if (spaceStart[0] !== 0 || !ascends(spaceStart, 0)) return 'has address spaces that are not in order'
  if (!stretchPage.every((page) => page < virtualPageEnd)) return 'tells of addresses that there are not'
  return whyUneven(stretchStart, stretchPage, spaceStart, pages.length)
}

/** An address space begins with a stretch, and its stretches ascend without a page in common. */
function whyUneven(
  stretchStart: Int32Array,
  stretchPage: Float64Array,
  spaceStart: Int32Array,
  positions: number,
): string | undefined {
  /** first of those that have not begun; the last number stands for none and is never met */
  let space = 0
  for (let stretch = 0; stretch < stretchStart.length; stretch += 1) {
    const start = stretchStart[stretch] ?? 0
    const next = spaceStart[space] ?? 0
    if (next < start) return 'has address spaces that begin inside a stretch'
    while (spaceStart[space] === start) space += 1
    const length = start - (stretchStart[stretch - 1] ?? 0)
    if (next > start && (stretchPage[stretch] ?? 0) < (stretchPage[stretch - 1] ?? 0) + length)
      return 'has stretches that overlap'
  }
  return spaceStart[space] === positions ? undefined : 'has address spaces that begin inside a stretch'
}

function ascends(numbers: Int32Array, leastStep: number): boolean {
  return numbers.every(
    (number, index) => number >= 0 && (index === 0 || number >= (numbers[index - 1] ?? 0) + leastStep),
  )
}
