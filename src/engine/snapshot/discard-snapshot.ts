import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { asRametError } from '../../shared/errors.ts'
import type { EngineContext } from '../context.ts'

/** Takes away everything of a snapshot, its record last. Can be repeated after a crash. */
export async function discardSnapshot(context: EngineContext, id: string): Promise<void> {
  const snapshot = context.snapshots.get(id)
  await rm(context.paths.snapshot(id), { recursive: true, force: true })
  if (snapshot === undefined) return
  await context.snapshots.remove(id)
  context.events.emit({ type: 'snapshot.removed', resource: { kind: 'snapshot', id, name: snapshot.name } })
}

/**
 * What a restarted daemon does with snapshots: whatever was being made or removed goes, and so do directories that no
 * record names. The vms that they are of have nothing to do with it.
 *
 * @returns how many directories were nobody's
 */
export async function recoverSnapshots(context: EngineContext): Promise<number> {
  for (const { id, name, state } of context.snapshots.list()) {
    if (state !== 'creating' && state !== 'removing') continue
    await discardSnapshot(context, id).catch((error: unknown) =>
      context.log.error({ snapshot: name, error: asRametError(error).message }, 'recovery of a snapshot failed'),
    )
  }
  const names = await readdir(context.paths.snapshotsDir)
  const unknown = names.filter((name) => context.snapshots.get(name) === undefined)
  for (const name of unknown) await rm(join(context.paths.snapshotsDir, name), { recursive: true, force: true })
  return unknown.length
}
