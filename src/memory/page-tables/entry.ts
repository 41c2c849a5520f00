/**
 * Entries of x86-64 page tables, each as two 32-bit words: a BigInt each would cost ten times as much. Bits as in the
 * Intel manual, volume 3A, sections 4.5 (4- and 5-level paging) and 4.6; what Linux puts where the processor does not
 * look, as in its arch/x86/include/asm/pgtable_types.h.
 */

/** entries of a table */
export const entryCount = 512

export const entryBits = {
  present: 1 << 0,
  user: 1 << 2,
  accessed: 1 << 5,
  dirty: 1 << 6,
  /** this entry maps a large page: reserved in the two uppermost levels, part of the memory type in the lowest */
  large: 1 << 7,
  /** Linux, where `present` is clear: the page is there, but the process may not touch it (PROT_NONE) */
  protNone: 1 << 8,
} as const

/** Bits 52 to 62 of the upper word: nobody's in an entry that points to a table, as Linux writes them. */
const upperFreeBits = 0x7ff0_0000
const upperFrameBits = 0x000f_ffff

/** Frame of 4 KiB that an entry points to; below 2^40. */
export function frameOf(low: number, high: number): number {
  return (high & upperFrameBits) * 2 ** 20 + (low >>> 12)
}

/**
 * Whether an entry can point to a table. `large` has to be clear: that holds by definition in the
 * two uppermost levels, and below them it tells tables from large pages.
 */
export function pointsToTable(low: number, high: number): boolean {
  return (low & (entryBits.present | entryBits.large)) === entryBits.present && (high & upperFreeBits) === 0
}

/**
 * Frame of a page that its process may not touch. Linux inverts the frame's bits in such an entry, so that no processor
 * that speculates past the clear `present` bit finds anything (arch/x86/include/asm/pgtable-invert.h).
 */
export function invertedFrameOf(low: number, high: number): number {
  return frameOf(~low, ~high)
}

/** Pages of 4 KiB that one entry of a level maps: 1, 512, 262,144. Level 1 is the lowest. */
export function pagesPerEntry(level: number): number {
  return entryCount ** (level - 1)
}

/** Whether a large page of a level may begin at a frame: the bits below its size are reserved, but for the memory type's. */
export function isAligned(frame: number, level: number): boolean {
  return level === 1 || (frame & (pagesPerEntry(level) - 1) & ~1) === 0
}
