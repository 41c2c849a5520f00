import { constants } from 'node:fs'
import { copyFile, type FileHandle } from 'node:fs/promises'
import { dirname } from 'node:path'
import { dataExtents } from '../host/extents.ts'
import { errnoOf } from '../shared/errors.ts'
import { faultPoint } from '../shared/fault.ts'
import { limits } from '../shared/limits.ts'
import { createWhole, type FileOwner, withPlainFile } from './files.ts'
import { requireSpace } from './space.ts'
import { nameBacking } from './stand-on.ts'

export interface CloneRequest {
  /** a frozen delta: nobody writes to it until this is over (see docs/decisions/0020) */
  readonly from: string
  readonly to: string
  /** whether the file system shares extents between files, as probed at start; a refusal falls back to copying */
  readonly reflink: boolean
  /** file that the copy shall stand on instead, with the same content: the other name of what the original stands on */
  readonly over?: string | undefined
  readonly owner?: FileOwner | undefined
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((doneBytes: number, totalBytes: number) => void) | undefined
}

export interface CloneResult {
  readonly method: 'reflink' | 'copy'
  /** written by copying; 0 for a reflink */
  readonly copiedBytes: number
}

/**
 * Copies a delta: at once where the file system can share extents, else the parts of it that are not
 * holes. As a delta names its base relatively, the copy stands on the same base as the original.
 *
 * @throws RametError `NO_SPACE`; the signal's reason when aborted. Either way nothing is left behind.
 */
export async function cloneDisk(request: CloneRequest): Promise<CloneResult> {
  const { from, to, owner, signal } = request
  signal?.throwIfAborted()
  return withPlainFile(from, 'read', (source) =>
    createWhole(to, { owner }, async (target, temporary) => {
      const isShared = request.reflink && (await tryReflink(source, target))
      const copiedBytes = isShared ? 0 : await copyExtents(source, target, dirname(temporary), request)
      if (request.over !== undefined) await nameBacking(target, to, request.over)
      return { method: isShared ? 'reflink' : 'copy', copiedBytes }
    }),
  )
}

/** What a file system says that cannot share these two files' extents. */
const noReflink = new Set(['ENOTSUP', 'EOPNOTSUPP', 'EXDEV', 'EINVAL', 'ENOTTY', 'ENOSYS'])

async function tryReflink(source: FileHandle, target: FileHandle): Promise<boolean> {
  // By descriptor, as the names could be exchanged; and off the event loop, as a fragmented or dirty
  // delta takes hundreds of milliseconds.
  const [fromFd, toFd] = [`/proc/self/fd/${source.fd}`, `/proc/self/fd/${target.fd}`]
  try {
    await copyFile(fromFd, toFd, constants.COPYFILE_FICLONE_FORCE)
    return true
  } catch (error) {
    if (noReflink.has(errnoOf(error) ?? '')) return false
    throw error
  }
}

async function copyExtents(
  source: FileHandle,
  target: FileHandle,
  directory: string,
  { from, signal, onProgress }: CloneRequest,
): Promise<number> {
  const { size } = await source.stat()
  const extents = dataExtents(source.fd, size)
  const totalBytes = extents.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0)
  await requireSpace(directory, totalBytes, `a copy of ${from}`)
  const buffer = Buffer.alloc(Math.min(limits.diskCopyChunkBytes, Math.max(totalBytes, 1)))
  let doneBytes = 0
  for (const { offsetBytes, lengthBytes } of extents) {
    for (let done = 0; done < lengthBytes; ) {
      signal?.throwIfAborted()
      const wanted = Math.min(buffer.length, lengthBytes - done)
      const { bytesRead } = await source.read(buffer, 0, wanted, offsetBytes + done)
      if (bytesRead === 0) throw Object.assign(new Error(`${from} shrank while it was copied`), { code: 'EIO' })
      faultPoint('disk.copy')
      await writeAll(target, buffer.subarray(0, bytesRead), offsetBytes + done)
      done += bytesRead
      doneBytes += bytesRead
      onProgress?.(doneBytes, totalBytes)
    }
  }
  await target.truncate(size)
  return totalBytes
}

/** A disk that is nearly full takes less than it is given, without an error. */
async function writeAll(target: FileHandle, bytes: Buffer, offset: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await target.write(bytes, done, bytes.length - done, offset + done)
    done += bytesWritten
  }
}
