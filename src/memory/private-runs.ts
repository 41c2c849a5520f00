import { setImmediate as breathe } from 'node:timers/promises'
import { readPrivateRuns } from '../host/pagemap.ts'
import { limits } from '../shared/limits.ts'
import { pageBytes, type Run } from './base.ts'
import type { GuestRam } from './guest-ram.ts'

/**
 * The pages of guest RAM that this vm does not share with its base, ascending; offsets are guest-physical.
 * Others have a turn after each `limits.memoryListBytes`: a large guest has millions of pages to look at.
 *
 * @throws ErrnoError `ENOENT` when its process has ended, `EACCES`
 */
export async function listPrivateRuns(ram: GuestRam): Promise<Run[]> {
  const runs: Run[] = []
  // Over nothing, a page of zeros that was only read (all are, by a capture in the background) is no change.
  const zeroIsNothing = ram.baseId === undefined
  for (let at = 0; at < ram.sizeBytes; at += limits.memoryListBytes) {
    if (at > 0) await breathe()
    const end = Math.min(at + limits.memoryListBytes, ram.sizeBytes)
    for (const { page, count } of readPrivateRuns(ram.pid, ram.start + at, ram.start + end, zeroIsNothing)) {
      append(runs, { offsetBytes: at + page * pageBytes, lengthBytes: count * pageBytes })
    }
  }
  return runs
}

/** A run that goes on where the last one ends is one with it. */
function append(runs: Run[], { offsetBytes, lengthBytes }: Run): void {
  const last = runs.at(-1)
  if (last === undefined || last.offsetBytes + last.lengthBytes !== offsetBytes) runs.push({ offsetBytes, lengthBytes })
  else runs[runs.length - 1] = { offsetBytes: last.offsetBytes, lengthBytes: last.lengthBytes + lengthBytes }
}

export function totalBytes(runs: readonly Run[]): number {
  return runs.reduce((sum, run) => sum + run.lengthBytes, 0)
}
