/** A vm's memory as a file, for reading one range at a time. */
import { closeSync, openSync, readSync } from 'node:fs'
import { errnoOf, RametError } from '../shared/errors.ts'

/** @throws RametError `PRIVILEGE`, `VMM_FAILED` when the process has ended */
export function openMemory(pid: number): { fd: number } & Disposable {
  try {
    const fd = openSync(`/proc/${pid}/mem`, 'r')
    return { fd, [Symbol.dispose]: () => closeSync(fd) }
  } catch (error) {
    if (errnoOf(error) === 'EACCES' || errnoOf(error) === 'EPERM') {
      throw new RametError('PRIVILEGE', { message: `no permission to read the memory of process ${pid}`, cause: error })
    }
    throw new RametError('VMM_FAILED', { message: `the memory of process ${pid} cannot be opened`, cause: error })
  }
}

/**
 * Fills `length` bytes of a buffer from `offset` on.
 *
 * @throws RametError `VMM_FAILED` when there is less
 */
export function readFully(fd: number, buffer: Buffer, offset: number, length: number, position: number): void {
  for (let done = 0; done < length; ) {
    const got = readOnce(fd, buffer, offset + done, length - done, position + done)
    if (got === 0) throw new RametError('VMM_FAILED', { message: 'the vm ended while its memory was read' })
    done += got
  }
}

function readOnce(fd: number, buffer: Buffer, offset: number, length: number, position: number): number {
  try {
    return readSync(fd, buffer, offset, length, position)
  } catch (error) {
    throw new RametError('VMM_FAILED', { message: 'guest memory cannot be read', cause: error })
  }
}
