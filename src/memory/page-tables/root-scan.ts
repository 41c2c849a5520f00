/**
 * Looks through a whole image for pages that can be the uppermost table of an address space, by their shape alone:
 * no register of the guest and no symbol of its kernel is needed. All roots of a Linux share the
 * kernel's half of the table (arch/x86/mm/pgtable.c, `pgd_ctor`), so the pages are grouped by that half, and
 * `kernel-half.ts` finds out which group means it.
 */
import { setImmediate as breathe } from 'node:timers/promises'
import { limits } from '../../shared/limits.ts'
import { pageBytes } from '../base.ts'
import { isZeroPage } from '../zero-pages.ts'
import { entryBits, entryCount, frameOf, pointsToTable } from './entry.ts'
import type { MemoryImage } from './memory-image.ts'
import { PageSet } from './page-set.ts'
import { frameOfPage, type PhysicalLayout, pageOfFrame } from './physical-layout.ts'

/** words of 32 bits in a table */
export const tableWords = entryCount * 2
const kernelWords = entryCount
/** The processor sets these in passing, so equal entries may differ in them. */
const passingBits = entryBits.accessed | entryBits.dirty
/** bit 63 of an entry, in its upper word */
const noExecute = 1 << 31

export interface RootScan {
  /** frames that may be roots, by what their kernel's half holds; ascending in each group */
  readonly groups: Map<number, number[]>
  /** pages that are not all zeros */
  readonly resident: PageSet
}

/**
 * Others have a turn after each `limits.memoryChunkBytes`.
 *
 * @throws the signal's reason when aborted; what reading the image throws
 */
export async function scanForRoots(
  image: MemoryImage,
  layout: PhysicalLayout,
  options: { signal?: AbortSignal } = {},
): Promise<RootScan> {
  const groups = new Map<number, number[]>()
  const resident = new PageSet(layout.pageCount)
  const buffer = Buffer.allocUnsafeSlow(limits.memoryChunkBytes)
  const words = new Uint32Array(buffer.buffer, buffer.byteOffset, buffer.length / 4)
  for (const run of image.data) {
    for (let at = 0; at < run.lengthBytes; at += buffer.length) {
      const offsetBytes = run.offsetBytes + at
      const chunk = buffer.subarray(0, Math.min(run.lengthBytes - at, buffer.length))
      image.read(chunk, offsetBytes)
      scanChunk(chunk, words, offsetBytes / pageBytes, { groups, resident }, layout)
      options.signal?.throwIfAborted()
      await breathe()
    }
  }
  return { groups, resident }
}

function scanChunk(chunk: Buffer, words: Uint32Array, firstPage: number, scan: RootScan, layout: PhysicalLayout): void {
  for (let at = 0; at < chunk.length; at += pageBytes) {
    if (isZeroPage(chunk, at)) continue
    const page = firstPage + at / pageBytes
    scan.resident.add(page)
    const key = rootKey(words, at / 4, layout)
    if (key === undefined) continue
    const group = scan.groups.get(key)
    // A Linux has a few dozen; a guest that has more than this is up to something, and none is found in it.
    const isRoom = scan.groups.size < layout.pageCount / 64 + limits.pageTableGroupCount
    if (group === undefined && isRoom) scan.groups.set(key, [frameOfPage(layout, page)])
    else group?.push(frameOfPage(layout, page))
  }
}

/**
 * What the kernel's half of a table holds, as one number, if the table can be a root: each entry is empty or points to a
 * table in RAM, those of the user's half are open to the user, and the kernel's half is not empty.
 *
 * @param start index of the table's first word
 */
export function rootKey(words: Uint32Array, start: number, layout: PhysicalLayout): number | undefined {
  let filled = 0
  // The kernel's half first: most pages of other kinds end in something that is no entry.
  for (let at = start + tableWords - 2; at >= start; at -= 2) {
    const low = words[at] ?? 0
    const high = words[at + 1] ?? 0
    if (low !== 0 || high !== 0) {
      const closed = at < start + kernelWords && (low & entryBits.user) === 0
      if (closed || !canPoint(low, high, layout)) return undefined
      filled += 1
    }
    if (at === start + kernelWords && filled === 0) return undefined
  }
  return keyOfHalf(words, start, 'kernel')
}

/** What one half of a table holds, as a number of 52 bits. Two that are equal by chance cost a hint, no more. */
export function keyOfHalf(words: Uint32Array, start: number, half: 'user' | 'kernel'): number {
  const first = start + (half === 'user' ? 0 : kernelWords)
  let hash = 0
  let other = 0
  for (let at = first; at < first + kernelWords; at += 2) {
    const low = (words[at] ?? 0) & ~passingBits
    const high = words[at + 1] ?? 0
    if (low === 0 && high === 0) continue
    hash = Math.imul(hash ^ low ^ (at - first), 0x9e3779b1) ^ high
    hash ^= hash >>> 15
    other = Math.imul(other + low, 0x85ebca6b) ^ (other >>> 13) ^ high ^ (at - first)
  }
  return (hash >>> 0) * 2 ** 20 + (other & 0xf_ffff)
}

function canPoint(low: number, high: number, layout: PhysicalLayout): boolean {
  return pointsToTable(low, high) && pageOfFrame(layout, frameOf(low, high)) !== undefined
}

/**
 * Whether the kernel's half of a table is that of another, or has up to `extraCount` entries more: Linux maps the
 * descriptor table of a process that has its own (modify_ldt) there, and nothing else of one process.
 */
export function sharesKernelHalf(table: Uint32Array, model: Uint32Array, extraCount: number): boolean {
  let extra = 0
  for (let at = kernelWords; at < tableWords; at += 2) {
    const low = (table[at] ?? 0) & ~passingBits
    const modelLow = (model[at] ?? 0) & ~passingBits
    if (low === modelLow && table[at + 1] === model[at + 1]) continue
    if (modelLow !== 0 || model[at + 1] !== 0) return false
    extra += 1
  }
  return extra <= extraCount
}

/**
 * Whether a table is the user's copy of a root: with page-table isolation Linux keeps a second root for each process, on the
 * next page, with the same user's half and next to nothing of the kernel's; the kernel's own root forbids
 * execution there (arch/x86/include/asm/pgtable.h, `kernel_to_user_pgdp`; arch/x86/mm/pti.c).
 */
export function isUserCopy(copy: Uint32Array, root: Uint32Array): boolean {
  let filled = 0
  for (let at = 0; at < kernelWords; at += 2) {
    const low = (root[at] ?? 0) & ~passingBits
    if (low !== ((copy[at] ?? 0) & ~passingBits)) return false
    if (((root[at + 1] ?? 0) & ~noExecute) !== ((copy[at + 1] ?? 0) & ~noExecute)) return false
    if (low !== 0) filled += 1
  }
  return filled > 0
}
