import { readdirSync } from 'node:fs'

/** How many descriptors a process has open. Throws `ENOENT` when it has ended, `EACCES`. */
export function countDescriptors(pid: number | 'self'): number {
  return readdirSync(`/proc/${pid}/fd`).length
}
