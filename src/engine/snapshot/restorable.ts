import { join } from 'node:path'
import { requireFit } from '../../checkpoint/file/fitness.ts'
import { offeredFeatures } from '../../checkpoint/file/host-features.ts'
import type { BaseReference, Manifest } from '../../checkpoint/file/manifest.ts'
import { FileSource } from '../../checkpoint/file/range-source.ts'
import { Checkpoint } from '../../checkpoint/file/read.ts'
import { contentDigest } from '../../memory/base-manifest.ts'
import { readStoredManifest } from '../../memory/stored-base.ts'
import { isRametError, RametError } from '../../shared/errors.ts'
import type { EngineContext } from '../context.ts'
import { baseFile } from '../disk/bases.ts'
import type { EngineParts } from '../parts.ts'
import type { CheckpointRecord, SnapshotRecord } from '../records.ts'
import { damagedSnapshot } from './damaged-snapshot.ts'
import { checkpointPathOf } from './snapshot-files.ts'

/** A snapshot that fits this host. */
export interface Restorable {
  snapshot: SnapshotRecord
  checkpoint: CheckpointRecord
  path: string
  /** stored base that some of its pages are read from */
  base?: { path: string; id: string }
}

/**
 * Looks whether a snapshot can be restored here, before anything is made: its file is whole as far as it is read before
 * the guest runs, its base is there, and this host has what it needs, the processor included.
 *
 * @throws RametError `ILLEGAL_STATE`, `CHECKPOINT_DAMAGED`, `CHECKPOINT_UNFIT` with what differs, `BASE_DAMAGED`; where no
 *   QEMU of that machine could be asked, `VMM_FAILED`, `QMP_FAILED`
 */
export async function openRestorable(
  parts: EngineParts,
  snapshot: SnapshotRecord,
  operationId: string,
): Promise<Restorable> {
  const { context } = parts
  const { checkpoint, name, state } = snapshot
  if (state !== 'ready' || checkpoint === undefined) throw notReady(snapshot)
  const path = checkpointPathOf(context.paths, snapshot.id)
  const manifest = await readManifest(path, checkpoint, name)
  const base = await baseOf(context, snapshot, manifest)
  const { qemuVersion: version, machineTypes, accelerator } = context.host
  const bases = base === undefined ? [] : [base.reference]
  const host = offeredFeatures({ version, machines: [...machineTypes] }, accelerator, bases)
  requireFit(manifest, host, `snapshot ${name}`)
  // Nothing was recorded: nothing can be compared.
  if (manifest.cpuFeatures.length > 0) {
    await parts.fingerprints.check(snapshot.vm)
    const cpuFeatures = await parts.processors.featuresOf(snapshot.vm, operationId)
    requireFit(manifest, { ...host, cpuFeatures }, `snapshot ${name}`)
  }
  return {
    ...{ snapshot, checkpoint, path },
    ...(base === undefined ? {} : { base: { path: base.path, id: base.reference.id } }),
  }
}

export function notReady({ name, state }: SnapshotRecord): RametError {
  return new RametError('ILLEGAL_STATE', {
    message: `snapshot ${name} is ${state}`,
    remediation: 'Only one that is ready can be restored: `ramet snapshot ls`.',
    details: { state },
  })
}

/** What each restore reads before the guest runs is read now: a file that is damaged there is refused at once. */
async function readManifest(path: string, { digest }: CheckpointRecord, name: string): Promise<Manifest> {
  try {
    await using source = await FileSource.open(path)
    const checkpoint = await Checkpoint.open(source, { digest })
    await Promise.all([checkpoint.readDeviceState(), checkpoint.readRoms()])
    return checkpoint.manifest
  } catch (error) {
    throw damagedSnapshot(name, error)
  }
}

async function baseOf(
  { paths, templates }: EngineContext,
  { checkpoint, name }: SnapshotRecord,
  { base, counts }: Manifest,
): Promise<{ path: string; reference: BaseReference } | undefined> {
  if (base === null || counts.base === 0) return undefined
  const template = templates.get(checkpoint?.baseOf ?? '')
  try {
    if (template === undefined) throw new RametError('NOT_FOUND', { message: 'it is gone' })
    const path = join(paths.template(template.id), baseFile)
    const manifest = await readStoredManifest(path, base)
    return { path, reference: { id: manifest.id, digest: contentDigest(manifest) } }
  } catch (error) {
    if (!isRametError(error, 'BASE_DAMAGED') && !isRametError(error, 'NOT_FOUND')) throw error
    throw new RametError('BASE_DAMAGED', {
      message: `snapshot ${name} needs memory of template ${template?.name ?? checkpoint?.baseOf}: ${error.message}`,
      cause: error,
      remediation: 'Put the file back as it was; what is in it cannot be had from anywhere else.',
      details: { ...error.details, snapshot: name, template: template?.name ?? checkpoint?.baseOf },
    })
  }
}
