import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { RametError } from '../shared/errors.ts'

/**
 * Reads a file that QEMU wrote into the directory of its vm. That directory belongs to the vm's own user,
 * so no link is followed, nothing blocks, and no size is believed.
 *
 * @throws RametError `VMM_FAILED` when it is no regular file of at most `maxBytes`
 */
export async function readForeignFile(path: string, maxBytes: number): Promise<Buffer> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    const stat = await file.stat()
    if (!stat.isFile() || stat.size > maxBytes)
      throw new RametError('VMM_FAILED', { message: `QEMU wrote no usable ${path} (${stat.size} bytes)` })
    const buffer = Buffer.alloc(stat.size)
    let length = 0
    while (length < buffer.length) {
      const { bytesRead } = await file.read(buffer, length, buffer.length - length, length)
      if (bytesRead === 0) break
      length += bytesRead
    }
    return buffer.subarray(0, length)
  } finally {
    await file.close()
  }
}
