/** The host's memory, as `/proc/meminfo` and the memory cgroup of this process tell it. */
import { readFileSync } from 'node:fs'

export interface MemoryInfo {
  totalBytes: number
  /** what new work can have without swapping: free memory plus what the kernel can drop */
  availableBytes: number
  /** memory files and tmpfs, sealed bases among them */
  sharedBytes: number
  swapFreeBytes: number
}

export function parseMeminfo(text: string): MemoryInfo {
  const values = new Map<string, number>()
  for (const line of text.split('\n')) {
    const match = /^(\w+):\s+(\d+) kB$/.exec(line)
    if (match?.[1]) values.set(match[1], Number(match[2]) * 1024)
  }
  const value = (name: string) => values.get(name) ?? 0
  return {
    totalBytes: value('MemTotal'),
    availableBytes: value('MemAvailable'),
    sharedBytes: value('Shmem'),
    swapFreeBytes: value('SwapFree'),
  }
}

/** Injected where a test wants another host. */
export type ReadMemoryInfo = () => MemoryInfo

export const readMemoryInfo: ReadMemoryInfo = () => parseMeminfo(readFileSync('/proc/meminfo', 'utf8'))
