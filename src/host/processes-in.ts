import { readdirSync, readlinkSync, realpathSync } from 'node:fs'
import { errnoOf } from '../shared/errors.ts'
import { identify, type ProcessIdentity, readStat } from './process-identity.ts'

/**
 * All processes whose working directory is `directory`: how what was started for a vm is found again
 * when its pid was never written down. Processes that may not be looked at are nobody of ours.
 */
export function processesIn(directory: string): ProcessIdentity[] {
  const wanted = resolved(directory)
  const found: ProcessIdentity[] = []
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    try {
      if (readlinkSync(`/proc/${entry}/cwd`) !== wanted) continue
    } catch (error) {
      if (['ENOENT', 'EACCES', 'EPERM', 'ESRCH'].includes(errnoOf(error) ?? '')) continue
      throw error
    }
    // Somebody who looks at the directory from a shell: what is started for a vm has no terminal.
    if (readStat(Number(entry))?.hasTerminal) continue
    const identity = identify(Number(entry))
    if (identity !== undefined) found.push(identity)
  }
  return found
}

/** The kernel shows real paths, with ` (deleted)` for a directory that is gone. */
function resolved(directory: string): string {
  try {
    return realpathSync(directory)
  } catch {
    return `${directory} (deleted)`
  }
}
