import { execFile } from 'node:child_process'
import { chmod, mkdir, mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** A file system with reflink that the measurement made for itself. */
export interface ReflinkMount {
  dir: string
  /** Unmounts it, which takes the loop device away, and removes its file. */
  remove(): Promise<void>
}

/**
 * An XFS with reflink in a sparse file, mounted over a loop device.
 *
 * @returns why there is none, when this host does not allow it
 */
export async function mountReflink(sizeBytes: number, parentDir = tmpdir()): Promise<ReflinkMount | string> {
  if (process.getuid?.() !== 0) return 'only root can mount a file system'
  const isThere = await run('mkfs.xfs', ['-V']).then(
    () => true,
    () => false,
  )
  if (!isThere) return 'mkfs.xfs is not installed (package xfsprogs)'
  const dir = await mkdtemp(join(parentDir, 'ramet-xfs-'))
  // Guests run as users of their own, which must be able to pass through.
  await chmod(dir, 0o711)
  const mountPoint = join(dir, 'mount')
  try {
    const device = join(dir, 'device')
    await using handle = await open(device, 'w')
    await handle.truncate(sizeBytes)
    await run('mkfs.xfs', ['-q', '-m', 'reflink=1', device])
    await mkdir(mountPoint)
    await run('mount', ['-o', 'loop', device, mountPoint])
  } catch (error) {
    await rm(dir, { recursive: true, force: true })
    return error instanceof Error ? error.message.trim() : String(error)
  }
  return {
    dir: mountPoint,
    remove: async () => {
      await run('umount', [mountPoint])
      await rm(dir, { recursive: true, force: true })
    },
  }
}

/** Type of the file system that a directory is on, by the kernel's name. */
export async function fileSystemOf(dir: string): Promise<string> {
  const { stdout } = await run('df', ['--output=fstype', dir])
  return stdout.trim().split('\n').at(-1) ?? 'unknown'
}
