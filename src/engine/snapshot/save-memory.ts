import { type SavedCheckpoint, saveCheckpoint } from '../../checkpoint/save/save.ts'
import { faultPoint } from '../../shared/fault.ts'
import type { EngineContext } from '../context.ts'
import { referenceTo, templateOf } from '../disk/template-base.ts'
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
