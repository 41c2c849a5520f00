import { join } from 'node:path'
import type { BaseReference } from '../../checkpoint/file/manifest.ts'
import { type SavedCheckpoint, saveCheckpoint } from '../../checkpoint/save/save.ts'
import type { OpenBase } from '../../memory/base.ts'
import { contentDigest } from '../../memory/base-manifest.ts'
import { readStoredManifest } from '../../memory/stored-base.ts'
import { isRametError } from '../../shared/errors.ts'
import { faultPoint } from '../../shared/fault.ts'
import type { EngineContext } from '../context.ts'
import { baseFile } from '../disk/bases.ts'
import type { OperationHandle } from '../operations.ts'
import type { SnapshotRecord, TemplateRecord } from '../records.ts'
import { checkpointPathOf } from './snapshot-files.ts'
import type { Taken } from './take-snapshot.ts'

const stages = { scanning: 'looking through its memory', storing: 'saving its memory' }

/**
 * Saves the memory of a captured vm, which runs on meanwhile. Pages that are those of a template's base are named
 * instead of copied; the caller keeps the template until the record says so.
 *
 * @throws RametError as `saveCheckpoint`
 */
export async function saveMemory(
  context: EngineContext,
  taken: Taken,
  handle: OperationHandle,
): Promise<Partial<SnapshotRecord>> {
  const { record, capturedAt, deviceState, romPages, memory, base } = taken
  const template = base && !taken.full ? templateOf(context, base) : undefined
  const reference = template && (await referenceTo(context, template))
  const vm = {
    ...{ machine: record.vm.machine, capturedAt, deviceState, romPages, memory, reference },
    qemuVersion: record.qemuVersion,
    cpuFeatures: taken.cpuFeatures,
  }
  const saved = await saveCheckpoint(checkpointPathOf(context.paths, record.id), vm, {
    signal: handle.signal,
    onProgress: (stage, doneBytes, totalBytes) =>
      handle.progress({ stage, doneBytes, totalBytes, message: stages[stage] }),
  })
  faultPoint('snapshot.saved')
  return factsOf(saved, template)
}

/** The template whose base this is; none for a base that was folded for a fork, which is in memory only. */
export function templateOf(context: EngineContext, { id }: OpenBase): TemplateRecord | undefined {
  return context.templates.list().find(({ baseId }) => baseId === id)
}

/** A base that is not on disk as it should be is no use to anybody who restores: its pages are copied then. */
export async function referenceTo(
  context: EngineContext,
  template: TemplateRecord,
): Promise<BaseReference | undefined> {
  try {
    const manifest = await readStoredManifest(join(context.paths.template(template.id), baseFile))
    return manifest.id === template.baseId ? { id: manifest.id, digest: contentDigest(manifest) } : undefined
  } catch (error) {
    if (!isRametError(error, 'NOT_FOUND') && !isRametError(error, 'BASE_DAMAGED')) throw error
    context.log.warn({ template: template.name, error: error.message }, 'its base is saved with what stands on it')
    return undefined
  }
}

function factsOf(saved: SavedCheckpoint, template: TemplateRecord | undefined): Partial<SnapshotRecord> {
  const { digest, fileBytes, counts, order } = saved
  const baseOf = template === undefined || counts.base === 0 ? {} : { baseOf: template.id }
  return {
    checkpoint: { digest, fileBytes, ...baseOf },
    memory: {
      storedBytes: fileBytes,
      pages: counts.pages,
      zeroPages: counts.zero,
      basePages: counts.base,
      order: order.kind,
      orderReason: order.reason,
    },
    timings: saved.timings,
  }
}
