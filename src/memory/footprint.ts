/** What a vm costs: guest RAM of its own, guest RAM shared with its base, and QEMU itself. */
import { readSmaps } from '../host/smaps.ts'
import { errnoOf, RametError } from '../shared/errors.ts'
import type { GuestRam } from './guest-ram.ts'

export interface Footprint {
  /** guest RAM that only this vm has: pages written, and all touched pages of an ordinary vm */
  guestPrivateBytes: number
  /** guest RAM read from the base and mapped now; the same pages serve every sibling */
  guestSharedBytes: number
  /** guest RAM in swap */
  guestSwappedBytes: number
  /** QEMU's own memory: heap, stacks, device buffers, translated code; swapped parts included */
  overheadBytes: number
}

/** @throws RametError `VMM_FAILED` when the process has ended */
export function readFootprint(ram: GuestRam): Footprint {
  const footprint = { guestPrivateBytes: 0, guestSharedBytes: 0, guestSwappedBytes: 0, overheadBytes: 0 }
  for (const use of mappingsOf(ram.pid)) {
    if (use.mapping.start >= ram.start && use.mapping.end <= ram.start + ram.sizeBytes) {
      footprint.guestPrivateBytes += use.anonymousBytes
      footprint.guestSharedBytes += use.residentBytes - use.anonymousBytes
      footprint.guestSwappedBytes += use.swappedBytes
    } else {
      footprint.overheadBytes += use.anonymousBytes + use.swappedBytes
    }
  }
  return footprint
}

function mappingsOf(pid: number) {
  try {
    return readSmaps(pid)
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT' && errnoOf(error) !== 'ESRCH') throw error
    throw new RametError('VMM_FAILED', { message: `QEMU process ${pid} has ended`, cause: error })
  }
}
