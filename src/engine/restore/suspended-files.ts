import { mkdir, rm } from 'node:fs/promises'
import type { EngineContext } from '../context.ts'
import { placeDisks } from './place-disks.ts'

/** Makes the directory for the checkpoint of a vm; only the daemon can write there, unlike in the vm's own. */
export async function makeSuspendedDirectory({ paths }: EngineContext, vmId: string): Promise<string> {
  const dir = paths.suspended(vmId)
  // Left by a pause that was cut short.
  await rm(dir, { recursive: true, force: true })
  await mkdir(dir, { recursive: true, mode: 0o700 })
  return dir
}

/** The memory that a vm had when it was paused to disk is of no more use. Can be repeated after a crash. */
export async function releaseCheckpoint(context: EngineContext, vmId: string): Promise<void> {
  const vm = context.vms.get(vmId)
  if (vm?.suspended !== undefined) {
    // Of a vm that went back to a snapshot: its memory is given up, its disks are of that moment all the same.
    await placeDisks(context, vm)
    await context.vms.update(vmId, { suspended: undefined })
  }
  await rm(context.paths.suspended(vmId), { recursive: true, force: true })
}

/**
 * The same for a vm that has run since, where nothing comes from there any more. While it is `restoring` its record is
 * all that tells a later daemon that its guest runs, so it is kept until that has another state.
 *
 * @param overId of a restore that is over, whatever the record says of it yet
 */
export async function releaseSpent(context: EngineContext, vmId: string, overId?: string): Promise<void> {
  const { restore, state, suspended } = context.vms.get(vmId) ?? {}
  if (suspended?.resumedAtMs === undefined || state === 'restoring') return
  if (restore === undefined || restore.state === 'done' || restore.id === overId) await releaseCheckpoint(context, vmId)
}
