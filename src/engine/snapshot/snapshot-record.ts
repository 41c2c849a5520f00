import type { SnapshotCreate } from '../../api/snapshot.ts'
import type { EngineContext } from '../context.ts'
import type { SnapshotRecord, VmRecord } from '../records.ts'

/** A snapshot about to be made: its name and id are known, and which vm it is of. */
export interface PlannedSnapshot {
  id: string
  name: string
  request: SnapshotCreate
}

/** The record of a snapshot that has nothing yet. */
export function plannedRecord(context: EngineContext, planned: PlannedSnapshot, vm: VmRecord): SnapshotRecord {
  const { id, name, request } = planned
  return {
    schemaVersion: 1,
    id,
    name,
    state: 'creating',
    vm: rememberedVm(vm),
    frozen: false,
    hasForkHooks: false,
    qemuVersion: context.host.qemuVersion,
    restoreCount: 0,
    labels: request.labels,
    ...(request.ttlSeconds === undefined ? {} : { ttlMs: request.ttlSeconds * 1000 }),
    createdAtMs: context.clock.nowMs(),
  }
}

/** The vm as it was, without what ran for it and what is of this moment only. */
export function rememberedVm(vm: VmRecord): VmRecord {
  const {
    process: _process,
    baseId: _baseId,
    stateReason: _stateReason,
    idlePaused: _idlePaused,
    capturedPaused: _capturedPaused,
    frozenWhilePaused: _frozenWhilePaused,
    untold: _untold,
    expiresAtMs: _expiresAtMs,
    ttlLeftMs: _ttlLeftMs,
    suspended: _suspended,
    restore: _restore,
    failure: _failure,
    timings: _timings,
    stoppedAtMs: _stoppedAtMs,
    ...lasting
  } = vm
  // A snapshot's disks are one delta over their base, whatever the vm's stood on for a while.
  const disks = vm.disks.map(({ sizeBytes, base }) => ({ sizeBytes, ...(base === undefined ? {} : { base }) }))
  return { ...lasting, helpers: [], disks }
}
