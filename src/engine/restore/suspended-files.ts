import { mkdir, rm } from 'node:fs/promises'
import type { EngineContext } from '../context.ts'

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
  if (context.vms.get(vmId)?.suspended !== undefined) await context.vms.update(vmId, { suspended: undefined })
  await rm(context.paths.suspended(vmId), { recursive: true, force: true })
}
