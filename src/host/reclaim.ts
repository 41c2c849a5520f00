/** Having the kernel drop what it can, ahead of somebody who shall not wait while it does. */
import { constants } from 'node:fs'
import { open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf } from '../shared/errors.ts'
import { ownMemoryRoom } from './memory-room.ts'

/**
 * Has so much memory freed, the oldest first, files and lazily freed memory alike; nothing is swapped out. Takes as long as it takes.
 *
 * @returns false where that cannot be had: before Linux 6.17, without the privilege, and in a control group with a limit, where the
 *   memory of others would be freed
 */
export type ReclaimMemory = (bytes: number) => Promise<boolean>

/** @param nodesDir one directory for each NUMA node, in each a file `reclaim` */
export async function reclaimMemory(
  bytes: number,
  nodesDir = '/sys/devices/system/node',
  isLimited = ownMemoryRoom() !== undefined,
): Promise<boolean> {
  if (isLimited) return false
  try {
    const nodes = (await readdir(nodesDir)).filter((name) => /^node\d+$/.test(name))
    const each = Math.ceil(bytes / Math.max(1, nodes.length))
    for (const node of nodes) await reclaimOf(join(nodesDir, node, 'reclaim'), each)
    return nodes.length > 0
  } catch {
    return false
  }
}

async function reclaimOf(file: string, bytes: number): Promise<void> {
  // Only written, which is all that the kernel allows, and never made.
  await using handle = await open(file, constants.O_WRONLY)
  try {
    await handle.write(`${bytes} swappiness=0`)
  } catch (error) {
    // There was less to be had.
    if (errnoOf(error) !== 'EAGAIN') throw error
  }
}
