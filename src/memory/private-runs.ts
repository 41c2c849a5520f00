import { readPrivateRuns } from '../host/pagemap.ts'
import { pageBytes, type Run } from './base.ts'
import type { GuestRam } from './guest-ram.ts'

/** The pages of guest RAM that this vm does not share with its base, ascending; offsets are guest-physical. */
export function listPrivateRuns(ram: GuestRam): Run[] {
  const runs = readPrivateRuns(ram.pid, ram.start, ram.start + ram.sizeBytes)
  return runs.map(({ page, count }) => ({ offsetBytes: page * pageBytes, lengthBytes: count * pageBytes }))
}

export function totalBytes(runs: readonly Run[]): number {
  return runs.reduce((sum, run) => sum + run.lengthBytes, 0)
}
