import { closeSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import type { Timings } from '../../api/timings.ts'
import type { CapturedMemory } from '../../checkpoint/save/captured-memory.ts'
import { syncDirectory } from '../../disk/files.ts'
import { requireSpace } from '../../disk/space.ts'
import type { OpenBase } from '../../memory/base.ts'
import type { DeviceState } from '../../qemu/device-state.ts'
import type { PageRun } from '../../qemu/migration-stream/encode.ts'
import { faultPoint } from '../../shared/fault.ts'
import { limits } from '../../shared/limits.ts'
import type { ForkParts } from '../fork/fork-parts.ts'
import { captureMoment, type LiveMoment, type MomentOrder } from '../fork/live-moment.ts'
import type { OperationHandle } from '../operations.ts'
import type { SnapshotRecord, VmRecord } from '../records.ts'
import { cpuFeaturesOf } from '../vm/cpu-features.ts'
import { copyDisks } from './snapshot-disks.ts'
import { type PlannedSnapshot, plannedRecord } from './snapshot-record.ts'

/** What of a vm is held in memory until it is saved. The vm has nothing to do with it any more. */
export interface Taken extends Disposable {
  readonly record: SnapshotRecord
  readonly capturedAt: Date
  readonly deviceState: DeviceState
  readonly romPages: readonly PageRun[]
  readonly memory: CapturedMemory
  readonly base: OpenBase | undefined
  /** whether pages of the base are stored too */
  readonly full: boolean
  /** of the processor, by QEMU's names; empty where they could not be asked for */
  readonly cpuFeatures: readonly string[]
  /** what the vm has written over its base, bytes */
  readonly deltaBytes: number
  readonly diskBytes: number
  readonly timings: Timings
}

/**
 * Captures a vm and copies its disks; its memory is in the result, still to be saved. Under the vm's lock. From the
 * record on, which comes first, everything that was made is the record's.
 *
 * @throws RametError as `captureMoment` and `copyDisks`; the vm runs on, or stands as it did
 */
export async function takeSnapshot(
  parts: ForkParts,
  planned: PlannedSnapshot,
  vm: VmRecord,
  handle: OperationHandle,
): Promise<Taken> {
  const { context } = parts
  const dir = context.paths.snapshot(planned.id)
  await parts.fingerprints.check(vm)
  // A disk so full that not even the undoing could be written down: refused while nothing has changed.
  await requireSpace(context.paths.dataDir, limits.diskActionBytes, `snapshot ${planned.name}`)
  const created = await context.snapshots.create(plannedRecord(context, planned, vm))
  context.events.emit({
    type: 'snapshot.created',
    resource: { kind: 'snapshot', id: created.id, name: created.name },
  })
  faultPoint('snapshot.recorded')
  await mkdir(dir, { mode: 0o700 })
  await syncDirectory(context.paths.snapshotsDir)
  const cpuFeatures = await cpuFeaturesOf(parts, vm)
  const moment = await captureMoment(parts, vm, orderOf(vm, planned), handle)
  const capturedAt = new Date(context.clock.nowMs())
  const held = holdMemory(parts, moment)
  let outcome: 'made' | 'failed' = 'failed'
  try {
    faultPoint('snapshot.captured')
    const startMs = performance.now()
    const diskBytes = await copyDisks(context, vm, await moment.disks.seeds(), { dir, handle })
    const { isFrozen: frozen, hasForkHooks } = moment.quiesced
    const facts = { frozen, hasForkHooks, createdAtMs: capturedAt.getTime() }
    const record = await context.snapshots.update(created.id, facts)
    const diskMs = performance.now() - startMs
    outcome = 'made'
    const { full } = planned.request
    const timings = { ...moment.timings, diskMs }
    return { ...held, record, capturedAt, full, cpuFeatures, diskBytes, timings }
  } catch (error) {
    held[Symbol.dispose]()
    throw moment.explain(error)
  } finally {
    await moment.release(outcome)
  }
}

function orderOf(vm: VmRecord, { request }: PlannedSnapshot): MomentOrder {
  return {
    purpose: 'snapshot',
    manner: request,
    staysPaused: false,
    // What a snapshot stood on would be kept from its vm for as long as the snapshot is there.
    disks: { copies: 1, mayLend: false, what: `a snapshot of the disks of ${vm.name}` },
    memoryFor: 'a file',
  }
}

type Held = Pick<Taken, 'deviceState' | 'romPages' | 'memory' | 'base' | 'deltaBytes'> & Disposable

/** Keeps what was captured, and the base below it, also when the vm goes. */
function holdMemory(parts: ForkParts, { capture, base }: LiveMoment): Held {
  const { deviceState, romPages, memory, report } = capture
  const common = { deviceState, romPages, base, deltaBytes: report.deltaBytes }
  if (memory.kind === 'base') {
    return { ...common, memory, base: undefined, [Symbol.dispose]: () => closeSync(memory.base.fd) }
  }
  const hold = base === undefined ? undefined : parts.bases.hold(base.id)
  return {
    ...common,
    memory: { kind: 'delta', delta: memory.delta, base },
    [Symbol.dispose]: () => {
      hold?.[Symbol.dispose]()
      void parts.bases.sweep()
    },
  }
}
