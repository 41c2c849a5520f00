import { join } from 'node:path'
import { workingSetPath } from '../../checkpoint/file/working-set.ts'
import type { Paths } from '../paths.ts'
import { checkpointFile } from '../restore/restore-request.ts'

/** What earlier restores used, beside the checkpoint of a snapshot. Its disks are named as a vm's: `diskFile`. */
export const workingSetFile = workingSetPath(checkpointFile)

export function checkpointPathOf(paths: Paths, snapshotId: string): string {
  return join(paths.snapshot(snapshotId), checkpointFile)
}

/** Nobody writes to a file of a snapshot once it is made. */
export const snapshotFileMode = 0o400
