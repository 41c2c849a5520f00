/**
 * Where the bytes of a RAM image lie in the guest's physical address space. QEMU keeps guest RAM in one block; a q35
 * machine shows the first part of it from address 0 on and, when it is large, the rest from 4 GiB on, behind
 * the hole that PCI devices need. Pages are counted on both sides: a *page* is an index into the image, a *frame*
 * is a guest-physical address divided by 4,096.
 */
import { assert } from '../../shared/assert.ts'
import { pageBytes } from '../base.ts'

const highStartFrame = 2 ** 32 / pageBytes

export interface PhysicalLayout {
  /** pages of the image */
  readonly pageCount: number
  /** pages of it that lie from address 0 on; the others lie from 4 GiB on */
  readonly lowPageCount: number
}

/**
 * The layout of a q35 machine without `max-ram-below-4g`, as `pc_q35_init` of QEMU 7.2 (hw/i386/pc_q35.c)
 * splits it: up to 2.75 GiB all is low; from there on 2 GiB are. Machines of about a TiB, whose upper part QEMU moves
 * on for AMD processors, are not covered: their upper frames are taken for what they are not, which finds nothing.
 *
 * @param ramBytes size of the guest RAM, memory plugged in later left out
 */
export function q35Layout(ramBytes: number): PhysicalLayout {
  assert(Number.isSafeInteger(ramBytes) && ramBytes > 0 && ramBytes % pageBytes === 0, 'guest RAM is whole pages')
  const lowBytes = ramBytes >= 0xb000_0000 ? 0x8000_0000 : ramBytes
  return { pageCount: ramBytes / pageBytes, lowPageCount: lowBytes / pageBytes }
}

/** The page of the image that a frame is; undefined where there is no RAM. */
export function pageOfFrame(layout: PhysicalLayout, frame: number): number | undefined {
  if (frame < layout.lowPageCount) return frame >= 0 ? frame : undefined
  const page = frame - highStartFrame + layout.lowPageCount
  return frame >= highStartFrame && page < layout.pageCount ? page : undefined
}

/** The frame that a page of the image is. */
export function frameOfPage(layout: PhysicalLayout, page: number): number {
  return page < layout.lowPageCount ? page : page - layout.lowPageCount + highStartFrame
}
