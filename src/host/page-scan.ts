/**
 * `PAGEMAP_SCAN` (Linux 6.7): the kernel finds the pages and tells runs, where reading the words of `pagemap.ts`
 * copies eight bytes out for each page.
 */
import { errnoOf } from '../shared/errors.ts'
import { addressOf, check, ioctlBufferRaw } from './libc.ts'

/** A run of neighbouring pages as addresses, the second behind its end. */
export type VisitRegion = (start: number, end: number) => void

/** `_IOWR('f', 16, struct pm_scan_arg)` */
const pagemapScan = 0xc0606610
const argumentWords = 12
const word = { size: 0, start: 2, end: 3, walkEnd: 4, vector: 5, length: 6, inverted: 8, mask: 9, anyOf: 10, told: 11 }
/** start, end, categories */
const regionWords = 3
/**
 * As many as the kernel collects before it copies out. With room for more it goes round again, and when it then
 * comes to the end it still says that it stopped where the first round did (seen in 6.18).
 */
const regionCount = 512

const category = { file: 1 << 2, present: 1 << 3, swapped: 1 << 4, zero: 1 << 5 } as const

/**
 * Calls back for each run of private pages of a range, ascending; neighbours may come apart.
 *
 * @param fd of `/proc/PID/pagemap`
 * @param zeroIsNothing whether the kernel's page of zeros, which is what reading untouched memory leaves there, is left out
 * @returns false when this kernel has no such call; nothing was called back then
 * @throws ErrnoError
 */
export function scanPrivate(
  fd: number,
  start: number,
  end: number,
  visit: VisitRegion,
  zeroIsNothing = false,
): boolean {
  // In halves: a BigInt an address costs more than finding it.
  const regions = new Uint32Array(regionCount * regionWords * 2)
  const argument = new BigUint64Array(argumentWords)
  argument[word.size] = BigInt(argumentWords * 8)
  argument[word.end] = BigInt(end)
  argument[word.vector] = BigInt(addressOf(regions))
  argument[word.length] = BigInt(regionCount)
  // Not of a file; and in memory or swapped out.
  const unwanted = category.file | (zeroIsNothing ? category.zero : 0)
  argument[word.inverted] = BigInt(unwanted)
  argument[word.mask] = BigInt(unwanted)
  argument[word.anyOf] = BigInt(category.present | category.swapped)
  // Of all that is found it is zero: regions are then joined whatever else sets their pages apart.
  argument[word.told] = BigInt(category.file)
  const bytes = Buffer.from(argument.buffer)
  for (let at = start; at < end; ) {
    argument[word.start] = BigInt(at)
    const count = scanOnce(fd, bytes)
    if (count === undefined) return false
    for (let index = 0; index < count * regionWords; index += regionWords) {
      visit(wordAt(regions, index), wordAt(regions, index + 1))
    }
    at = Number(argument[word.walkEnd])
  }
  return true
}

function wordAt(halves: Uint32Array, index: number): number {
  return (halves[index * 2] ?? 0) + (halves[index * 2 + 1] ?? 0) * 2 ** 32
}

let isMissing = false

function scanOnce(fd: number, argument: Buffer): number | undefined {
  if (isMissing) return undefined
  try {
    return check('ioctl', ioctlBufferRaw(fd, pagemapScan, argument), 'PAGEMAP_SCAN')
  } catch (error) {
    if (errnoOf(error) !== 'ENOTTY') throw error
    isMissing = true
    return undefined
  }
}
