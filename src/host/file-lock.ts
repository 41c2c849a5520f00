import { errnoOf } from '../shared/errors.ts'
import { check, flockRaw } from './libc.ts'

const lockExclusive = 2
const orFail = 4

/**
 * Takes the kernel's exclusive lock of an open file; it goes with the last descriptor, however the process ends.
 *
 * @returns false when another process has it
 * @throws ErrnoError
 */
export function tryLock(fd: number): boolean {
  try {
    check('flock', flockRaw(fd, lockExclusive | orFail))
    return true
  } catch (error) {
    // One number with two names.
    if (['EAGAIN', 'EWOULDBLOCK'].includes(errnoOf(error) ?? '')) return false
    throw error
  }
}
