import { createHash } from 'node:crypto'
import { lstatSync } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { errnoOf, isRametError, RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import { withPlainFile } from './files.ts'

/**
 * What the file system says of a file without reading it. The kernel sets the change time at every write, and at
 * every change of owner, mode or name, and lets nobody choose it: a file with the same stamp has the same content,
 * unless somebody with the rights of root went to lengths (docs/security.md).
 */
export interface FileStamp {
  readonly sizeBytes: number
  readonly inode: string
  /** nanoseconds since 1970, as text: too many digits for a number */
  readonly mtimeNs: string
  readonly ctimeNs: string
}

/**
 * Looks at a file that should never change. Synchronous: a few microseconds, on the path of every start.
 *
 * @throws RametError `BASE_DAMAGED` when it is missing, or not a plain file
 */
export function readStamp(path: string): FileStamp {
  try {
    const stat = lstatSync(path, { bigint: true })
    // Whoever opens it later would follow the link, or wait at the fifo.
    if (stat.isFile()) return stampOf(stat)
    throw damaged(path, `is ${stat.isSymbolicLink() ? 'a symbolic link' : 'not a plain file'}`)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') throw damaged(path, 'is missing', error)
    throw error
  }
}

export function sameStamp(one: FileStamp, other: FileStamp): boolean {
  return (
    one.sizeBytes === other.sizeBytes &&
    one.inode === other.inode &&
    one.mtimeNs === other.mtimeNs &&
    one.ctimeNs === other.ctimeNs
  )
}

export interface FileDigest {
  readonly sha256: string
  /** of the file while it was read */
  readonly stamp: FileStamp
}

export interface DigestOptions {
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((doneBytes: number, totalBytes: number) => void) | undefined
}

/**
 * Reads a whole file.
 *
 * @throws RametError `BASE_DAMAGED` when it is missing, not a plain file, or changes meanwhile; the signal's reason
 */
export async function digestFile(path: string, options: DigestOptions = {}): Promise<FileDigest> {
  try {
    return await withPlainFile(path, 'read', async (handle) => {
      const stamp = await stampOfOpen(handle)
      const sha256 = await hashAll(handle, stamp.sizeBytes, options)
      if (!sameStamp(stamp, await stampOfOpen(handle))) throw damaged(path, 'is being changed')
      return { sha256, stamp }
    })
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') throw damaged(path, 'is missing', error)
    if (isRametError(error, 'IMAGE_INVALID')) throw damaged(path, 'is not a plain file', error)
    throw error
  }
}

async function hashAll(handle: FileHandle, totalBytes: number, options: DigestOptions): Promise<string> {
  const hash = createHash('sha256')
  const buffer = Buffer.allocUnsafeSlow(Math.max(1, Math.min(totalBytes, limits.diskDigestChunkBytes)))
  for (let doneBytes = 0; doneBytes < totalBytes; ) {
    options.signal?.throwIfAborted()
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, doneBytes)
    if (bytesRead === 0) break
    hash.update(buffer.subarray(0, bytesRead))
    doneBytes += bytesRead
    options.onProgress?.(doneBytes, totalBytes)
  }
  return hash.digest('hex')
}

interface BigStat {
  size: bigint
  ino: bigint
  mtimeNs: bigint
  ctimeNs: bigint
}

async function stampOfOpen(handle: FileHandle): Promise<FileStamp> {
  return stampOf(await handle.stat({ bigint: true }))
}

function stampOf({ size, ino, mtimeNs, ctimeNs }: BigStat): FileStamp {
  return { sizeBytes: Number(size), inode: String(ino), mtimeNs: String(mtimeNs), ctimeNs: String(ctimeNs) }
}

function damaged(path: string, what: string, cause?: unknown): RametError {
  return new RametError('BASE_DAMAGED', { message: `${path} ${what}`, cause, details: { path, what } })
}
