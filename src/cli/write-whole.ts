import { createWriteStream } from 'node:fs'
import { realpath, rename, rm, stat } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { RametError } from '../shared/errors.ts'

/**
 * Writes a file that is there under its name only once it is whole, in place of an older one. What is there and is no
 * regular file, a pipe or a device, is written into as it is: it is never replaced.
 *
 * @throws RametError `INVALID_ARGUMENT` when the file cannot be written; what the content fails with; the signal's reason
 */
export async function writeWhole(file: string, content: Readable, signal: AbortSignal): Promise<void> {
  try {
    // Behind a link too: the file that it leads to is replaced, not the link.
    const target = await realpath(file).catch(ignoreMissing)
    const isPlain = target === undefined || (await stat(target)).isFile()
    if (isPlain) await replace(target ?? file, content, signal)
    else await pipeline(content, createWriteStream(target), { signal })
  } catch (error) {
    content.destroy()
    if (!isFileError(error)) throw error
    throw new RametError('INVALID_ARGUMENT', {
      message: `${file} cannot be written`,
      cause: error,
      remediation: 'Check the path, and that there is room.',
    })
  }
}

async function replace(file: string, content: Readable, signal: AbortSignal): Promise<void> {
  const partial = `${file}.partial`
  try {
    // Left by one that was killed; or put there by somebody else, who shall not choose what is written to.
    await rm(partial, { force: true })
    await pipeline(content, createWriteStream(partial, { flags: 'wx', mode: 0o600 }), { signal })
    await rename(partial, file)
  } catch (error) {
    await rm(partial, { force: true })
    throw error
  }
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error
}

/** Whether the file system here refused, rather than the daemon, its connection, or whoever interrupted. */
function isFileError(error: unknown): boolean {
  if (!(error instanceof Error) || !('code' in error)) return false
  return 'path' in error || ['ENOSPC', 'EDQUOT', 'EFBIG', 'EIO'].includes(String(error.code))
}
