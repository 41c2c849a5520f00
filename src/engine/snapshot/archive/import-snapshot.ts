import { rm } from 'node:fs/promises'
import type { Snapshot, SnapshotImport } from '../../../api/snapshot.ts'
import { syncDirectory } from '../../../disk/files.ts'
import { asRametError } from '../../../shared/errors.ts'
import { faultPoint } from '../../../shared/fault.ts'
import { newId } from '../../../shared/ids.ts'
import type { Action, CallContext } from '../../contract.ts'
import type { ForkParts } from '../../fork/fork-parts.ts'
import type { OperationHandle } from '../../operations.ts'
import type { SnapshotRecord, VmRecord } from '../../records.ts'
import { discardSnapshot } from '../discard-snapshot.ts'
import { snapshotView } from '../snapshot-view.ts'
import type { ArchiveManifest } from './archive-manifest.ts'
import { findFoundations, foundationIds } from './foundations.ts'
import { receiveArchive } from './receive-archive.ts'
import { verifyArchive } from './verify-archive.ts'

/**
 * Imports a snapshot that was exported, here or elsewhere. The body is read to its end before the operation begins;
 * what is then left to do needs no client.
 *
 * @throws RametError as `receiveArchive`; `done`: as `verifyArchive`. Nothing is left behind.
 */
export async function importSnapshot(
  parts: ForkParts,
  request: SnapshotImport,
  body: AsyncIterable<Uint8Array>,
  call?: CallContext,
): Promise<Action<Snapshot>> {
  const { context } = parts
  if (request.name !== undefined) context.snapshots.checkFree(request.name)
  const id = newId('snap', context.random)
  const dir = context.paths.snapshot(id)
  try {
    const manifest = await receiveArchive(parts, dir, body)
    const name = request.name ?? manifest.name
    context.snapshots.checkFree(name)
    faultPoint('snapshot.received')
    const target = { kind: 'snapshot' as const, id, name }
    return await context.operations.begin('snapshot.import', target, call, (handle) =>
      settle(parts, { id, name, manifest }, handle),
    )
  } catch (error) {
    await rm(dir, { recursive: true, force: true })
    throw asRametError(error)
  }
}

interface Received {
  id: string
  name: string
  manifest: ArchiveManifest
}

/** From here on it has a record, which keeps what it stands on. */
async function settle(parts: ForkParts, received: Received, handle: OperationHandle): Promise<Snapshot> {
  const { context } = parts
  const { id, manifest } = received
  const resource = { kind: 'snapshot' as const, id, name: received.name }
  try {
    // Before they are looked for: reading all of it takes long, and no record says yet that they are needed.
    using held = new DisposableStack()
    for (const needed of foundationIds(manifest)) held.use(parts.uses.hold(needed))
    const template = await findFoundations(parts, manifest)
    if (template !== undefined) held.use(parts.uses.hold(template.id))
    const dir = context.paths.snapshot(id)
    const { machine, ...verified } = await verifyArchive({ context, dir, manifest, template }, handle)
    await syncDirectory(dir)
    await syncDirectory(context.paths.snapshotsDir)
    await parts.fingerprints.recordSnapshot(id, manifest.disks.length, { signal: handle.signal })
    const { digest, fileBytes } = manifest.checkpoint
    const baseOf = template === undefined || verified.memory.basePages === 0 ? {} : { baseOf: template.id }
    const snapshot = await context.snapshots.create({
      ...recordOf(received, machine),
      ...verified,
      checkpoint: { digest, fileBytes, ...baseOf },
    })
    faultPoint('snapshot.imported')
    context.events.emit({ type: 'snapshot.created', resource })
    context.events.emit({ type: 'snapshot.state', resource, data: { state: 'ready' } })
    return snapshotView(snapshot)
  } catch (error) {
    await discardSnapshot(parts, id)
    throw error
  }
}

function recordOf({ id, name, manifest }: Received, machine: VmRecord['machine']): SnapshotRecord {
  const { createdAtMs, labels, frozen, hasForkHooks, qemuVersion } = manifest
  const disks = manifest.disks.map(({ sizeBytes, base }) => {
    if (base === undefined) return { sizeBytes }
    const { owner, ownerId, file } = base
    return { sizeBytes, base: { owner, ownerId, file } }
  })
  const vm = { ...manifest.vm, schemaVersion: 1 as const, machine, disks, helpers: [], restartCount: 0 }
  return {
    ...{ schemaVersion: 1, id, name, state: 'ready', vm, frozen, hasForkHooks, qemuVersion },
    ...{ restoreCount: 0, labels, createdAtMs },
  }
}
