/** `/proc/PID/maps`: what a process has mapped where. */
import { readFileSync } from 'node:fs'

export interface Mapping {
  /** first address; below 2^53 on every machine Ramet runs on */
  readonly start: number
  /** first address behind it */
  readonly end: number
  /** four letters such as `rw-p` (private) or `r--s` (shared) */
  readonly permissions: string
  /** where in the file it begins */
  readonly offsetBytes: number
  /** 0 for anonymous memory */
  readonly inode: number
  /** file or label such as `[heap]`; empty for anonymous memory */
  readonly path: string
}

const linePattern = /^([0-9a-f]+)-([0-9a-f]+) (\S{4}) ([0-9a-f]+) \S+ (\d+) *(.*)$/

export function parseMappingLine(line: string): Mapping | undefined {
  const match = linePattern.exec(line)
  if (match === null) return undefined
  const [, start = '', end = '', permissions = '', offset = '', inode = '', path = ''] = match
  return {
    start: Number.parseInt(start, 16),
    end: Number.parseInt(end, 16),
    permissions,
    offsetBytes: Number.parseInt(offset, 16),
    inode: Number(inode),
    path,
  }
}

export function parseMaps(text: string): Mapping[] {
  return text.split('\n').flatMap((line) => parseMappingLine(line) ?? [])
}

/** @throws ErrnoError `ENOENT`, `ESRCH` when the process has ended, `EACCES` */
export function readMaps(pid: number): Mapping[] {
  return parseMaps(readFileSync(`/proc/${pid}/maps`, 'utf8'))
}
