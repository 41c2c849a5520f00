import { join } from 'node:path'
import { workingSetPath } from '../../checkpoint/file/working-set.ts'
import { policyNames, type RestoreRequest } from '../../checkpoint/serve/protocol.ts'
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

/**
 * What the page server is asked for: all of it follows from the record, so that any later daemon asks for the same.
 *
 * @throws RametError `BASE_DAMAGED`
 */
export function restoreRequest(context: EngineContext, serving: Serving): RestoreRequest {
  const { vm, record, qemu } = serving
  const path = checkpointPath(context, vm.id, record)
  const { baseOf, digest } = record.checkpoint
  return {
    restoreId: record.id,
    vmName: vm.name,
    checkpoint: { path },
    digest,
    ...(baseOf === undefined ? {} : { base: storedBase(context, baseOf, vm.name) }),
    qemuSocket: join(qemu.dir, serving.socketName),
    qemuProcess: qemu.identity,
    policy: policyNames.find((name) => name === record.policy) ?? context.settings.restorePolicy,
    fill: context.settings.restoreFill,
    // What a vm used once that was paused to disk is of no use to anybody: its next checkpoint is another one.
    workingSetPath: record.snapshotId === undefined ? null : workingSetPath(path),
    storeDelayMs: 0,
    takeOver: serving.takeOver,
  }
}
