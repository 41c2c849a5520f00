import { constants } from 'node:fs'
import { type FileHandle, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { asRametError, errnoOf, RametError } from '../shared/errors.ts'

/** The user a vm's QEMU runs as. Absent when the daemon itself is not root. */
export interface FileOwner {
  readonly uid: number
  readonly gid: number
}

export interface NewFileOptions {
  /** permission bits; 0600 unless told */
  readonly mode?: number
  readonly owner?: FileOwner | undefined
}

/** The name under which a file is written until it is whole. One operation at a time makes a file. */
export function temporaryName(path: string): string {
  return `${path}.tmp`
}

/**
 * Makes a file so that it is either whole under its name or not there: temporary name, flush, rename,
 * flush of the directory.
 *
 * The directory of a vm belongs to that vm's user, and QEMU may be under a guest's control. So nothing
 * is opened that is already there (a symbolic link, say), and owner and mode are set by descriptor.
 *
 * @throws RametError `NO_SPACE`, with nothing left behind
 */
export async function createWhole<T>(
  path: string,
  options: NewFileOptions,
  write: (handle: FileHandle, temporary: string) => Promise<T>,
): Promise<T> {
  const temporary = temporaryName(path)
  await rm(temporary, { force: true })
  try {
    const result = await withFile(temporary, 'wx+', async (handle) => {
      const written = await write(handle, temporary)
      await finishFile(handle, options)
      return written
    })
    await rename(temporary, path)
    await syncDirectory(dirname(path))
    return result
  } catch (error) {
    await rm(temporary, { force: true })
    throw diskError(error, path)
  }
}

/** Owner, mode and flush of a file that is about to get its name. */
export async function finishFile(handle: FileHandle, options: NewFileOptions): Promise<void> {
  if (options.owner !== undefined) await handle.chown(options.owner.uid, options.owner.gid)
  await handle.chmod(options.mode ?? 0o600)
  await handle.sync()
}

/** A rename is only as durable as the directory that records it. */
export async function syncDirectory(path: string): Promise<void> {
  await withFile(path, constants.O_RDONLY | constants.O_DIRECTORY, (handle) => handle.sync())
}

/**
 * Opens what must be a plain file, never what a link leads to.
 *
 * @throws RametError `IMAGE_INVALID` for anything else, errno errors as `node:fs` gives them
 */
export async function withPlainFile<T>(
  path: string,
  access: 'read' | 'write',
  work: (handle: FileHandle) => Promise<T>,
): Promise<T> {
  // without O_NONBLOCK the opening of a fifo would wait for a writer
  const flags =
    (access === 'read' ? constants.O_RDONLY : constants.O_RDWR) | constants.O_NOFOLLOW | constants.O_NONBLOCK
  return withFile(path, flags, async (handle) => {
    if (!(await handle.stat()).isFile())
      throw new RametError('IMAGE_INVALID', { message: `${path} is not a plain file` })
    return work(handle)
  }).catch((error: unknown) => {
    if (errnoOf(error) === 'ELOOP')
      throw new RametError('IMAGE_INVALID', { message: `${path} is a symbolic link`, cause: error })
    throw error
  })
}

/** Gives a failure of the file system its meaning, with the file it happened to. */
export function diskError(error: unknown, path: string): unknown {
  const errno = errnoOf(error)
  if (errno === 'ENOSPC' || errno === 'EDQUOT' || errno === 'EFBIG')
    return new RametError('NO_SPACE', { message: `no space left to write ${path}`, cause: error, details: { path } })
  // an aborted wait gives back its signal's reason, whatever that is
  return error instanceof Error && error.name === 'AbortError'
    ? error
    : errno === undefined
      ? error
      : asRametError(error)
}

async function withFile<T>(path: string, flags: string | number, work: (handle: FileHandle) => Promise<T>): Promise<T> {
  const handle = await open(path, flags, 0o600)
  try {
    return await work(handle)
  } finally {
    await handle.close()
  }
}
