/** What this host has for vms that are started: available memory less a reserve, and less what is promised already. */
import type { MemoryInfo } from '../../host/meminfo.ts'
import { RametError } from '../../shared/errors.ts'
import { formatBytes, limits } from '../../shared/limits.ts'

export interface Capacity {
  /** what Ramet may have of the host, or of its control group */
  totalBytes: number
  /** what new work can have; memory that caches have freed lazily is part of it, once */
  availableBytes: number
  /** of that, what can be had at once */
  freeBytes: number
  /** stays available, and as far as can be free, whatever is started */
  reserveBytes: number
  /** to starts under way and memory that still comes to restored vms: what they will take and have not taken, at the most */
  promisedBytes: number
  /** what is left for another start */
  startableBytes: number
}

/** What a start takes by itself, before its vm has done anything of its own. */
export interface StartNeed {
  /** for people: “starting web” */
  what: string
  /** of the guest's memory */
  guestBytes: number
  /** of QEMU, at its largest */
  vmmBytes: number
  /** the guest's memory comes by and by, and not while anybody waits for the start */
  isLazy?: true
}

/** @param settingBytes absent: a small part of the host, and enough for one start in any case */
export function reserveOf(totalBytes: number, settingBytes: number | undefined): number {
  return settingBytes ?? Math.max(limits.hostReserveBytes, Math.floor(totalBytes * limits.hostReservePart))
}

export function capacityOf(memory: MemoryInfo, of: { reserveBytes: number; promisedBytes: number }): Capacity {
  const { totalBytes, availableBytes, freeBytes } = memory
  const startableBytes = Math.max(0, availableBytes - of.reserveBytes - of.promisedBytes)
  return { totalBytes, availableBytes, freeBytes, ...of, startableBytes }
}

/** What a kernel touches of its memory until its agent answers: its own, and a record of each page. */
export function bootNeed(memoryBytes: number): number {
  return Math.min(memoryBytes, limits.bootBytes + Math.floor(memoryBytes * limits.bootPart))
}

export function fits({ guestBytes, vmmBytes }: StartNeed, { startableBytes }: Capacity): boolean {
  return guestBytes + vmmBytes <= startableBytes
}

/** Says what is needed, what there is, and what helps. */
export function refusal(need: StartNeed, capacity: Capacity): RametError {
  const { what, guestBytes, vmmBytes } = need
  const neededBytes = guestBytes + vmmBytes
  const { availableBytes, reserveBytes, promisedBytes, startableBytes } = capacity
  const guest =
    guestBytes === 0 ? '' : ` (${formatBytes(guestBytes)} of guest memory, ${formatBytes(vmmBytes)} of QEMU)`
  const promised = promisedBytes === 0 ? '' : ` and ${formatBytes(promisedBytes)} are promised to starts under way`
  return new RametError('NO_CAPACITY', {
    message:
      `${what} needs ${formatBytes(neededBytes)}${guest}; of ${formatBytes(availableBytes)} available ` +
      `${formatBytes(reserveBytes)} stay free${promised}, which leaves ${formatBytes(startableBytes)}`,
    remediation:
      'Pause a vm to disk (`ramet pause --to-disk VM`) or remove one; `ramet stats` shows what there is. ' +
      'How much stays free is `memory_reserve_mib` in ramet.toml.',
    details: { neededBytes, ...capacity },
  })
}

/**
 * What a cache in lazily freed memory should give back so that so much can be had at once. Its part only: what else the
 * kernel can drop (files, mostly) it drops by age, and a cache that paid for all of it would be emptied by every start.
 *
 * @param wantedBytes that should be free
 * @param lazyBytes of the cache, that are to be had
 */
export function partToGiveBack(
  { availableBytes, freeBytes }: MemoryInfo,
  wantedBytes: number,
  lazyBytes: number,
): number {
  const shortBytes = wantedBytes - freeBytes
  if (shortBytes <= 0 || lazyBytes <= 0) return 0
  const droppableBytes = Math.max(lazyBytes, availableBytes - freeBytes)
  return Math.min(lazyBytes, Math.ceil(shortBytes * (lazyBytes / droppableBytes)))
}
