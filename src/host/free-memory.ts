/** Memory that is in use and free at once: what this process has released lazily, beside what the host has to give. */
import { type ReadMemoryInfo, readMemoryInfo } from './meminfo.ts'
import { readSmapsRollup } from './smaps.ts'

export interface FreeMemory {
  /** what new work can have; what was released lazily is part of it already */
  availableBytes: number
  /** of this process: released by MADV_FREE and not taken yet. Lags by up to some hundred KiB a processor. */
  lazyFreeBytes: number
}

/**
 * Walks the page tables of the whole process: a millisecond or so for each gigabyte that is resident.
 *
 * @throws ErrnoError `ENOENT` where there is no `smaps_rollup` (before Linux 4.14)
 */
export function readFreeMemory(
  pid = process.pid,
  readMemory: ReadMemoryInfo = readMemoryInfo,
  readRollup = readSmapsRollup,
): FreeMemory {
  const { availableBytes } = readMemory()
  return { availableBytes, lazyFreeBytes: readRollup(pid).lazyFreeBytes }
}
