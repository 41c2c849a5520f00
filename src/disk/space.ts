import { statfs } from 'node:fs/promises'
import { RametError } from '../shared/errors.ts'
import { formatBytes, limits } from '../shared/limits.ts'

/** Bytes that new work may take in a directory: what is free, less the reserve for what already runs. */
export async function spareBytes(directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory)
  return Math.max(0, bavail * bsize - limits.diskReserveBytes)
}

/**
 * Refuses work that would not fit, before it begins. What is written later can still meet a full disk.
 *
 * @param what for the message: “the disk of vm-…”
 * @throws RametError `NO_SPACE` with `details.neededBytes` and `details.spareBytes`
 */
export async function requireSpace(directory: string, neededBytes: number, what: string): Promise<void> {
  const spare = await spareBytes(directory)
  if (neededBytes <= spare) return
  throw new RametError('NO_SPACE', {
    message: `${what} needs ${formatBytes(neededBytes)}, but ${directory} has ${formatBytes(spare)} to spare (${formatBytes(limits.diskReserveBytes)} are kept in reserve)`,
    details: { directory, neededBytes, spareBytes: spare },
  })
}
