import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { errnoOf } from '../shared/errors.ts'
import { type DiskChain, openChain } from './chain.ts'
import { syncDirectory, temporaryName } from './files.ts'
import { runImageTool } from './image-tool.ts'

/** Removes a disk, and what a killed daemon may have left of its making. Idempotent. */
export async function removeDisk(path: string): Promise<void> {
  await rm(path, { force: true })
  await rm(temporaryName(path), { force: true })
  try {
    await syncDirectory(dirname(path))
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error
  }
}

/**
 * Looks over the disk of a vm whose QEMU was killed, before it is started again: the chain is checked,
 * and clusters that nothing refers to any more are given back. Content is never changed.
 *
 * @throws RametError as `openChain`; `IMAGE_INVALID` for damage beyond leaked clusters
 */
export async function repairDisk(path: string, baseRoots: readonly string[]): Promise<DiskChain> {
  await openChain(path, baseRoots)
  await runImageTool(['check', '-q', '-f', 'qcow2', '-r', 'leaks', path])
  return openChain(path, baseRoots)
}
