/** The host's memory, as `/proc` and the memory cgroup of this process tell it. */
import { readFileSync } from 'node:fs'
import { readText } from './memory-limit.ts'
import { type MemoryRoom, ownMemoryRoom } from './memory-room.ts'

export interface MemoryInfo {
  totalBytes: number
  /** what new work can have without swapping: free memory plus what the kernel can drop, lazily freed memory among it */
  availableBytes: number
  /** of that, what can be had at once, nothing having to be dropped for it */
  freeBytes: number
  /** memory files and tmpfs, sealed bases among them */
  sharedBytes: number
  swapFreeBytes: number
}

/** @param keptBytes what processors keep aside, from `keptByProcessors`: free, and counted as neither free nor available */
export function parseMeminfo(text: string, keptBytes = 0): MemoryInfo {
  const values = new Map<string, number>()
  for (const line of text.split('\n')) {
    const match = /^(\w+):\s+(\d+) kB$/.exec(line)
    if (match?.[1]) values.set(match[1], Number(match[2]) * 1024)
  }
  const value = (name: string) => values.get(name) ?? 0
  return {
    totalBytes: value('MemTotal'),
    availableBytes: value('MemAvailable') + keptBytes,
    freeBytes: value('MemFree') + keptBytes,
    sharedBytes: value('Shmem'),
    swapFreeBytes: value('SwapFree'),
  }
}

/**
 * Freed pages that lie on the lists of processors. Since Linux 6.7 these hold up to an eighth of the memory for some time
 * after a process has ended or given memory back.
 *
 * @param text of `/proc/zoneinfo`
 */
export function keptByProcessors(text: string): number {
  let pages = 0
  for (const [, count] of text.matchAll(/^ +count: +(\d+)$/gm)) pages += Number(count)
  return pages * 4096
}

/** A process in a control group has what the host has, or what the group has left, whichever is less. */
export function withinRoom(host: MemoryInfo, room: MemoryRoom | undefined): MemoryInfo {
  if (room === undefined) return host
  return {
    ...host,
    totalBytes: Math.min(host.totalBytes, room.limitBytes),
    availableBytes: Math.min(host.availableBytes, room.availableBytes),
    freeBytes: Math.min(host.freeBytes, room.freeBytes),
  }
}

/** Injected where a test wants another host. */
export type ReadMemoryInfo = () => MemoryInfo

export const readMemoryInfo: ReadMemoryInfo = () => {
  const keptBytes = keptByProcessors(readText('/proc/zoneinfo') ?? '')
  return withinRoom(parseMeminfo(readFileSync('/proc/meminfo', 'utf8'), keptBytes), ownMemoryRoom())
}
