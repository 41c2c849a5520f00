import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { RametError } from '../shared/errors.ts'

/**
 * Reads a file that QEMU wrote into the directory of its vm. That directory belongs to the vm's own user,
 * so no link is followed, nothing blocks, and no size is believed. At once, because a guest may be standing
 * still meanwhile: a small file out of the page cache costs less than one turn of the thread pool.
 *
 * @throws RametError `VMM_FAILED` when it is no regular file of at most `maxBytes`
 */
export function readForeignFile(path: string, maxBytes: number): Buffer {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    const stat = fstatSync(fd)
    if (!stat.isFile() || stat.size > maxBytes)
      throw new RametError('VMM_FAILED', { message: `QEMU wrote no usable ${path} (${stat.size} bytes)` })
    const buffer = Buffer.alloc(stat.size)
    let length = 0
    while (length < buffer.length) {
      const got = readSync(fd, buffer, length, buffer.length - length, length)
      if (got === 0) break
      length += got
    }
    return buffer.subarray(0, length)
  } finally {
    closeSync(fd)
  }
}
