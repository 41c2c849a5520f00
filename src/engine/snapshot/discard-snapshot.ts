import { readdir, rm } from 'node:fs/promises'
import { asRametError } from '../../shared/errors.ts'
import type { EngineParts } from '../parts.ts'
import { vmsNeeding } from './snapshot-users.ts'

type Tools = Pick<EngineParts, 'context' | 'fingerprints'>

/** Takes away everything of a snapshot, its record last. Can be repeated after a crash. */
export async function discardSnapshot({ context, fingerprints }: Tools, id: string): Promise<void> {
  const snapshot = context.snapshots.get(id)
  await fingerprints.forget(id)
  await rm(context.paths.snapshot(id), { recursive: true, force: true })
  if (snapshot === undefined) return
  await context.snapshots.remove(id)
  context.events.emit({ type: 'snapshot.removed', resource: { kind: 'snapshot', id, name: snapshot.name } })
}

/**
 * What a restarted daemon does with snapshots: whatever was being made or removed goes, and so do directories that no
 * record names. The vms that they are of have nothing to do with it. One that a vm needs stays: its removal had only
 * been written down, and would have been refused next.
 *
 * @returns how many directories were nobody's
 */
export async function recoverSnapshots(tools: Tools): Promise<number> {
  const { context } = tools
  for (const { id, name, state } of context.snapshots.list()) {
    if (state !== 'creating' && state !== 'removing') continue
    const isNeeded = state === 'removing' && vmsNeeding(context, id).length > 0
    const recovered = isNeeded ? context.snapshots.update(id, { state: 'ready' }) : discardSnapshot(tools, id)
    await recovered.catch((error: unknown) =>
      context.log.error({ snapshot: name, error: asRametError(error).message }, 'recovery of a snapshot failed'),
    )
  }
  const names = await readdir(context.paths.snapshotsDir)
  const unknown = names.filter((name) => context.snapshots.get(name) === undefined)
  for (const name of unknown) await discardSnapshot(tools, name)
  return unknown.length
}
