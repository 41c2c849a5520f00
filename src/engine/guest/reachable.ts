import { realpathSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { RametError } from '../../shared/errors.ts'

const othersMayPass = 0o001

/**
 * Guests run as users of their own, who must be able to pass through every directory above what is theirs.
 *
 * @throws RametError `PRIVILEGE` naming the directory that keeps them out, and how to open it
 */
export function checkReachable(path: string): void {
  const target = realpathSync(path)
  for (let directory = target; ; directory = dirname(directory)) {
    if ((statSync(directory).mode & othersMayPass) === 0) {
      throw new RametError('PRIVILEGE', {
        message: `VMs run as users of their own, who cannot pass through ${directory} to ${target}`,
        remediation: `Run \`chmod o+x ${directory}\`, or choose a data directory elsewhere with --data-dir.`,
      })
    }
    if (directory === dirname(directory)) return
  }
}
