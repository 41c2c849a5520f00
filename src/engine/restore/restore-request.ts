import { join } from 'node:path'
import { workingSetPath } from '../../checkpoint/file/working-set.ts'
import { policyNames, type RestoreRequest, type RestoreSource } from '../../checkpoint/serve/protocol.ts'
import type { ProcessIdentity } from '../../host/process-identity.ts'
import { RametError } from '../../shared/errors.ts'
import type { EngineContext } from '../context.ts'
import { baseFile } from '../disk/bases.ts'
import type { RestoreRecord } from '../records.ts'

/** Name of a checkpoint file in the directory of its snapshot, or of its vm. */
export const checkpointFile = 'memory.ckpt'

/** Where the checkpoint lies that a vm is restored from. */
export function checkpointPath(
  { paths }: EngineContext,
  vmId: string,
  { snapshotId }: Pick<RestoreRecord, 'snapshotId'>,
): string {
  return join(snapshotId === undefined ? paths.suspended(vmId) : paths.snapshot(snapshotId), checkpointFile)
}

/** A stored base of a template that pages of a checkpoint are read from. @throws RametError `BASE_DAMAGED` */
export function storedBase(
  { paths, templates }: EngineContext,
  baseOf: string,
  what: string,
): { path: string; id: string } {
  const template = templates.get(baseOf)
  if (template !== undefined) return { path: join(paths.template(baseOf), baseFile), id: template.baseId }
  throw new RametError('BASE_DAMAGED', {
    message: `${what} needs memory of template ${baseOf}, which is gone`,
    remediation: 'Nothing brings it back; remove what needs it.',
  })
}

export interface Serving {
  vm: { id: string; name: string }
  record: RestoreRecord
  qemu: { dir: string; identity: ProcessIdentity }
  socketName: string
  takeOver: boolean
}

/** What of it is known before there is a QEMU. */
export function restoreSource(
  context: EngineContext,
  vmId: string,
  from: Pick<RestoreRecord, 'snapshotId' | 'checkpoint' | 'policy'>,
): RestoreSource {
  const path = checkpointPath(context, vmId, from)
  return {
    checkpoint: { path },
    digest: from.checkpoint.digest,
    policy: policyNames.find((name) => name === from.policy) ?? context.settings.restorePolicy,
    // What a vm used once that was paused to disk is of no use to anybody: its next checkpoint is another one.
    workingSetPath: from.snapshotId === undefined ? null : workingSetPath(path),
    storeDelayMs: 0,
  }
}

/**
 * What the page server is asked for: all of it follows from the record, so that any later daemon asks for the same.
 *
 * @throws RametError `BASE_DAMAGED`
 */
export function restoreRequest(context: EngineContext, serving: Serving): RestoreRequest {
  const { vm, record, qemu } = serving
  const { baseOf } = record.checkpoint
  return {
    ...restoreSource(context, vm.id, record),
    restoreId: record.id,
    vmName: vm.name,
    ...(baseOf === undefined ? {} : { base: storedBase(context, baseOf, vm.name) }),
    qemuSocket: join(qemu.dir, serving.socketName),
    qemuProcess: qemu.identity,
    fill: context.settings.restoreFill,
    takeOver: serving.takeOver,
  }
}
