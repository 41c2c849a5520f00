import { existsSync } from 'node:fs'
import { readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { syncDirectory } from '../../disk/files.ts'
import { diskFile } from '../../fork/disk-file.ts'
import { faultPoint } from '../../shared/fault.ts'
import type { EngineContext } from '../context.ts'
import type { VmRecord } from '../records.ts'

/** Name of a disk that a vm goes back to, until the vm's record says that it does. */
export const waitingDiskFile = (index: number): string => `${diskFile(index)}.waiting`

/**
 * Gives the disks that a vm goes back to their names, in place of those it had. Its record has said so before: whoever
 * finds it so, also after a crash, does the same again.
 */
export async function placeDisks(context: EngineContext, { id, disks }: Pick<VmRecord, 'id' | 'disks'>): Promise<void> {
  const { suspended } = context.vms.find(id)
  if (suspended?.placing === undefined) return
  const dir = context.paths.vm(id)
  for (const index of disks.keys()) {
    const from = join(dir, waitingDiskFile(index))
    if (existsSync(from)) await rename(from, join(dir, diskFile(index)))
    faultPoint('restore.placing')
  }
  for (const name of await readdir(dir)) if (isLevel(name)) await rm(join(dir, name), { force: true })
  await syncDirectory(dir)
  const { placing: _, ...placed } = suspended
  await context.vms.update(id, { suspended: placed })
  faultPoint('restore.placed')
}

/** Disks that were made for a vm that does not go back to them after all. */
export async function removeWaitingDisks({ paths }: EngineContext, { id, disks }: VmRecord): Promise<void> {
  for (const index of disks.keys()) await rm(join(paths.vm(id), waitingDiskFile(index)), { force: true })
}

/** What was written over a disk that others read, or while it was captured: `diskFile` of a level above 0. */
const isLevel = (name: string) => /^disk\d+\.\d+\.qcow2$/.test(name)
