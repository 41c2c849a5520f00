/** `/proc/PID/smaps`: how much memory each mapping of a process takes. */
import { readFileSync } from 'node:fs'
import { type Mapping, parseMappingLine } from './proc-maps.ts'

export interface MemoryUse {
  /** pages mapped, whoever else maps them too */
  residentBytes: number
  /** pages of its own: never shared with a file, copied on write or anonymous from the start */
  anonymousBytes: number
  swappedBytes: number
  /** resident memory with shared pages divided among those that map them */
  proportionalBytes: number
  /** still resident, but the kernel may take it without writing anything: released by MADV_FREE */
  lazyFreeBytes: number
}

export interface MappingUse extends MemoryUse {
  mapping: Mapping
}

const fields = {
  Rss: 'residentBytes',
  Anonymous: 'anonymousBytes',
  Swap: 'swappedBytes',
  Pss: 'proportionalBytes',
  LazyFree: 'lazyFreeBytes',
} as const satisfies Record<string, keyof MemoryUse>

function nothingUsed(): MemoryUse {
  return { residentBytes: 0, anonymousBytes: 0, swappedBytes: 0, proportionalBytes: 0, lazyFreeBytes: 0 }
}

function addLine(use: MemoryUse, line: string): void {
  const match = /^(Rss|Anonymous|Swap|Pss|LazyFree): +(\d+) kB$/.exec(line)
  if (match === null) return
  const field = fields[match[1] as keyof typeof fields]
  use[field] += Number(match[2]) * 1024
}

export function parseSmaps(text: string): MappingUse[] {
  const uses: MappingUse[] = []
  for (const line of text.split('\n')) {
    const mapping = parseMappingLine(line)
    if (mapping !== undefined) uses.push({ mapping, ...nothingUsed() })
    else if (uses.length > 0) addLine(uses[uses.length - 1] ?? nothingUsed(), line)
  }
  return uses
}

export function parseSmapsRollup(text: string): MemoryUse {
  const use = nothingUsed()
  for (const line of text.split('\n')) addLine(use, line)
  return use
}

/** @throws ErrnoError `ENOENT`, `ESRCH` when the process has ended, `EACCES` */
export function readSmaps(pid: number): MappingUse[] {
  return parseSmaps(readFileSync(`/proc/${pid}/smaps`, 'utf8'))
}

/** The whole process; several times cheaper than adding up `readSmaps`. Throws as it does. */
export function readSmapsRollup(pid: number): MemoryUse {
  return parseSmapsRollup(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))
}
