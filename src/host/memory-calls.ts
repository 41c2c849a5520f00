/** What can be asked of the kernel about memory of this process, for those who do without where it cannot. Loads no library. */

/** Values of `madvise(2)`. */
export const advice = {
  /** give the pages back now; they read as zeros from then on */
  drop: 4,
  /** the kernel may take the pages whenever it likes; until then they keep their content */
  free: 8,
  /** a child of fork(2) does not get the range: shared pages could not be taken */
  noFork: 10,
  noHugePages: 15,
  noDump: 16,
  /** reclaim the pages now, as under want of memory (Linux 5.4) */
  pageOut: 21,
  /** make the pages resident for writing (Linux 5.14) */
  populate: 23,
} as const

export interface AnonymousMemory {
  /** address of the first byte, a whole number of pages; below 2^53 */
  address: number
  /** never unmapped, so that no view can outlive it */
  bytes: ArrayBuffer
}

/** The system calls, so that tests can have a kernel that refuses them. */
export interface MemoryCalls {
  /** @throws ErrnoError `ENOMEM` */
  map(lengthBytes: number): AnonymousMemory
  /** @throws ErrnoError `EINVAL` where the kernel does not know the advice, `ENOMEM` */
  advise(address: number, lengthBytes: number, what: number): void
}
