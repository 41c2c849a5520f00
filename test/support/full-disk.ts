import { open, rm, statfs } from 'node:fs/promises'
import { dirname } from 'node:path'

const MiB = 1024 * 1024

/** Takes all room but some bytes. */
export async function fill(path: string, leaveBytes: number): Promise<void> {
  await rm(path, { force: true })
  const { bavail, bsize } = await statfs(dirname(path))
  const chunk = Buffer.alloc(MiB)
  const file = await open(path, 'w')
  try {
    for (let left = bavail * bsize - leaveBytes; left > 0; left -= chunk.length)
      await file.write(chunk, 0, Math.min(chunk.length, left))
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOSPC')) throw error
  } finally {
    await file.close()
  }
}
