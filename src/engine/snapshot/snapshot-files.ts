import { join } from 'node:path'
import { workingSetPath } from '../../checkpoint/file/working-set.ts'
import type { Paths } from '../paths.ts'

/** Checkpoint file of a snapshot; what earlier restores used lies beside it. Its disks are named as a vm's: `diskFile`. */
export const checkpointFile = 'memory.ckpt'

export const workingSetFile = workingSetPath(checkpointFile)

export function checkpointPathOf(paths: Paths, snapshotId: string): string {
  return join(paths.snapshot(snapshotId), checkpointFile)
}

/** Nobody writes to a file of a snapshot once it is made. */
export const snapshotFileMode = 0o400
