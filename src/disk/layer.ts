import type { FileHandle } from 'node:fs/promises'
import { errnoOf, isRametError, RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import { withPlainFile } from './files.ts'
import { decodeHeader, type Qcow2Header } from './qcow2/header.ts'
import { fileSource } from './qcow2/source.ts'
import { type AllocationSummary, summarizeRanges } from './qcow2/walk.ts'

/** One file of a chain, as it was when it was looked at. */
export interface DiskLayer {
  readonly path: string
  readonly header: Qcow2Header
  /** what it takes on the host; parts shared by reflink count fully in each file */
  readonly allocatedBytes: number
  readonly fileBytes: number
  /** permission bits */
  readonly mode: number
  /** device and inode: the same for two names of one file */
  readonly fileKey: string
}

/**
 * @throws RametError `IMAGE_INVALID` naming the file, also when QEMU left it dirty or marked it corrupt;
 *   `BASE_DAMAGED` when it is not there
 */
export async function readLayer(path: string): Promise<DiskLayer> {
  return naming(path, () =>
    withPlainFile(path, 'read', async (handle) => {
      const { header } = await readHeader(handle)
      const stat = await handle.stat()
      return {
        path,
        header,
        allocatedBytes: stat.blocks * 512,
        fileBytes: stat.size,
        mode: stat.mode & 0o7777,
        fileKey: `${stat.dev}:${stat.ino}`,
      }
    }),
  )
}

/** What a file that nobody writes to has allocated, by its own tables. @throws RametError `IMAGE_INVALID` */
export async function readAllocation(path: string): Promise<AllocationSummary> {
  return naming(path, () =>
    withPlainFile(path, 'read', async (handle) => {
      const { header } = await readHeader(handle)
      return summarizeRanges(await fileSource(handle), header)
    }),
  )
}

/** The header and the bytes it was read from. @throws RametError `IMAGE_INVALID` */
export async function readHeader(handle: FileHandle): Promise<{ header: Qcow2Header; start: Buffer }> {
  const source = await fileSource(handle)
  const start = await source.read(0, Math.min(limits.diskHeaderBytes, source.bytes))
  const header = decodeHeader(start, source.bytes)
  if (header.isCorrupt) throw new RametError('IMAGE_INVALID', { message: 'QEMU has marked it as corrupt' })
  if (header.isDirty) throw new RametError('IMAGE_INVALID', { message: 'it was not closed by its last writer' })
  return { header, start }
}

/** Adds the file's name to what the codec says about its content. */
export async function naming<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (errnoOf(error) === 'ENOENT')
      throw new RametError('BASE_DAMAGED', { message: `the disk ${path} is missing`, cause: error, details: { path } })
    if (!isRametError(error, 'IMAGE_INVALID') || 'path' in error.details) throw error
    throw new RametError('IMAGE_INVALID', {
      message: `the disk ${path} cannot be used: ${error.message}`,
      cause: error,
      details: { ...error.details, path },
    })
  }
}
