/** Descriptors of another process, taken out of it: a socket cannot be opened by its name in /proc. */
import { closeSync, readdirSync, readlinkSync } from 'node:fs'
import { errnoOf } from '../shared/errors.ts'
import { check, syscallRaw } from './libc.ts'
import { openPidfd } from './pidfd.ts'
import { isRunning, type ProcessIdentity } from './process-identity.ts'

// The same number on x86-64 and arm64.
const sysPidfdGetfd = 438

/**
 * A descriptor of our own for a socket that another process has open.
 *
 * @param inode of the socket, as `fstat` gives it
 * @returns undefined when the process has no such socket, or has ended
 * @throws ErrnoError `EPERM` when this process may not look into the other
 */
export function takeSocket(process: ProcessIdentity, inode: bigint): number | undefined {
  let pidfd: number
  try {
    pidfd = openPidfd(process.pid)
  } catch (error) {
    if (errnoOf(error) === 'ESRCH') return undefined
    throw error
  }
  try {
    // From here on the descriptor means one process only: if it is the right one now, it always was.
    if (!isRunning(process)) return undefined
    const fd = findSocket(process.pid, inode)
    return fd === undefined ? undefined : Number(check('pidfd_getfd', syscallRaw(sysPidfdGetfd, pidfd, fd, 0, 0)))
  } finally {
    closeSync(pidfd)
  }
}

function findSocket(pid: number, inode: bigint): number | undefined {
  const dir = `/proc/${pid}/fd`
  for (const fd of readdirSync(dir)) if (linkOf(`${dir}/${fd}`) === `socket:[${inode}]`) return Number(fd)
  return undefined
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    // Closed since the directory was read.
    return ''
  }
}
