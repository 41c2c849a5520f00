import type { Page } from '../../api/primitives.ts'
import type { Snapshot, SnapshotCreate, SnapshotUpdate } from '../../api/snapshot.ts'
import { asRametError, RametError } from '../../shared/errors.ts'
import { faultPoint } from '../../shared/fault.ts'
import { inventName, newId } from '../../shared/ids.ts'
import { formatBytes } from '../../shared/limits.ts'
import type { Action, CallContext, SnapshotQuery } from '../contract.ts'
import { templateOf } from '../disk/template-base.ts'
import { checkCapturable } from '../fork/fork-conflicts.ts'
import type { ForkParts } from '../fork/fork-parts.ts'
import type { OperationHandle } from '../operations.ts'
import { matchesLabels, paginate } from '../page.ts'
import type { SnapshotRecord, VmRecord } from '../records.ts'
import { discardSnapshot } from './discard-snapshot.ts'
import { saveMemory } from './save-memory.ts'
import type { PlannedSnapshot } from './snapshot-record.ts'
import { vmsNeeding } from './snapshot-users.ts'
import { snapshotView } from './snapshot-view.ts'
import { type Taken, takeSnapshot } from './take-snapshot.ts'

/** Makes, keeps and removes snapshots. */
export class SnapshotService {
  readonly #parts: ForkParts

  constructor(parts: ForkParts) {
    this.#parts = parts
  }

  list(query: SnapshotQuery): Page<Snapshot> {
    const rows = this.#parts.context.snapshots
      .list()
      .filter(({ state }) => query.state === undefined || query.state.includes(state))
      .filter(({ labels }) => matchesLabels(labels, query.label ?? []))
      .filter(({ vm }) => query.vm === undefined || vm.id === query.vm || vm.name === query.vm)
      .sort((a, b) => a.createdAtMs - b.createdAtMs || (a.id < b.id ? -1 : 1))
    const page = paginate(rows, query)
    return { ...page, items: page.items.map(snapshotView) }
  }

  /** @throws RametError as `Engine.createSnapshot` */
  async create(of: VmRecord, request: SnapshotCreate, call?: CallContext): Promise<Action<Snapshot>> {
    const { context, calls } = this.#parts
    using parentCall = await calls.begin(of)
    const { vm } = parentCall
    checkCapturable(vm, request, 'snapshot')
    if (request.name !== undefined) context.snapshots.checkFree(request.name)
    const name = request.name ?? inventName(context.random)
    const planned = { id: newId('snap', context.random), name, request }
    const target = { kind: 'snapshot' as const, id: planned.id, name }
    return context.operations.begin('snapshot.create', target, call, (handle) => this.#make(planned, vm.id, handle))
  }

  async #make(planned: PlannedSnapshot, vmId: string, handle: OperationHandle): Promise<Snapshot> {
    const { context, runtimes } = this.#parts
    const startMs = performance.now()
    try {
      // The vm is let go as soon as its disks are copied: what it had in memory is in ours by then.
      using taken = await runtimes.exclusively(vmId, () => {
        handle.signal.throwIfAborted()
        return takeSnapshot(this.#parts, planned, context.vms.find(vmId), handle)
      })
      const saved = await this.#save(taken, handle)
      handle.progress({ stage: 'disks', message: 'taking the fingerprints of its disks' })
      const diskCount = taken.record.vm.disks.length
      await this.#parts.fingerprints.recordSnapshot(planned.id, diskCount, { signal: handle.signal })
      const timings = { ...taken.timings, ...saved.timings, totalMs: performance.now() - startMs }
      const { diskBytes } = taken
      const ready = await context.snapshots.update(planned.id, ({ ttlMs }) => ({
        ...saved,
        ...{ state: 'ready', diskBytes, timings },
        ...(ttlMs === undefined ? {} : { expiresAtMs: context.clock.nowMs() + ttlMs }),
      }))
      faultPoint('snapshot.ready')
      this.#parts.ttl.reschedule()
      this.#announce(ready)
      return snapshotView(ready)
    } catch (error) {
      await discardSnapshot(this.#parts, planned.id)
      throw error
    }
  }

  async #save(taken: Taken, handle: OperationHandle): Promise<Partial<SnapshotRecord>> {
    const template = taken.base && templateOf(this.#parts.context, taken.base)
    using _ = template && this.#parts.uses.hold(template.id)
    try {
      return await saveMemory(this.#parts.context, taken, handle)
    } catch (error) {
      throw namingNeed(error, taken)
    }
  }

  /** @throws RametError `NAME_TAKEN` */
  async update(snapshot: SnapshotRecord, changes: SnapshotUpdate): Promise<Snapshot> {
    const { context, ttl } = this.#parts
    const { ttlSeconds, ...plain } = changes
    const ttlMs = ttlSeconds === undefined || ttlSeconds === null ? undefined : ttlSeconds * 1000
    const updated = await context.snapshots.update(snapshot.id, ({ state }) => {
      if (ttlSeconds === undefined) return plain
      const isRunning = state === 'ready' && ttlMs !== undefined
      return { ...plain, ttlMs, expiresAtMs: isRunning ? context.clock.nowMs() + ttlMs : undefined }
    })
    ttl.reschedule()
    context.events.emit({ type: 'snapshot.updated', resource: resourceOf(updated) })
    return snapshotView(updated)
  }

  /** @throws RametError `IN_USE` with the vms in `details.vms`, `ILLEGAL_STATE` while it is made */
  async remove(snapshot: SnapshotRecord, call?: CallContext): Promise<Action<void>> {
    const { context } = this.#parts
    this.#checkRemovable(snapshot)
    const target = { kind: 'snapshot' as const, id: snapshot.id, name: snapshot.name }
    return context.operations.begin('snapshot.remove', target, call, async () => {
      // Somebody else may have removed it since.
      if (context.snapshots.get(snapshot.id) === undefined) return
      await this.#beginRemoval(snapshot.id)
      await discardSnapshot(this.#parts, snapshot.id)
      this.#parts.ttl.reschedule()
    })
  }

  /** Removes a snapshot whose time to live is over. */
  expire(id: string): void {
    const { context } = this.#parts
    const snapshot = context.snapshots.get(id)
    if (snapshot === undefined) return
    context.log.info({ snapshot: snapshot.name }, 'time to live is over')
    this.remove(snapshot).then(
      (action) => action.done.catch(() => {}),
      (error: unknown) =>
        context.log.warn({ snapshot: snapshot.name, error: asRametError(error).message }, 'not removed'),
    )
  }

  /**
   * From the state `removing` on nothing begins with it; what began before has a hold, or a vm's record, by then. Should
   * this daemon end before the second look, the next one takes it.
   */
  async #beginRemoval(id: string): Promise<void> {
    const { snapshots } = this.#parts.context
    const before = snapshots.find(id)
    this.#checkRemovable(before)
    const removing = await snapshots.update(id, { state: 'removing' })
    try {
      this.#checkUnused(removing)
    } catch (error) {
      await snapshots.update(id, { state: before.state })
      throw error
    }
    this.#announce(removing)
  }

  #checkRemovable(snapshot: SnapshotRecord): void {
    if (snapshot.state === 'creating') {
      throw new RametError('ILLEGAL_STATE', {
        message: `snapshot ${snapshot.name} is being made`,
        remediation: 'Cancel its operation instead: `ramet operation ls`.',
      })
    }
    this.#checkUnused(snapshot)
  }

  #checkUnused({ id, name }: SnapshotRecord): void {
    const { context, uses } = this.#parts
    const vms = vmsNeeding(context, id)
    if (vms.length > 0) {
      throw new RametError('IN_USE', {
        message: `the memory of ${vms.slice(0, 10).join(', ')} still comes from snapshot ${name}`,
        remediation: 'Wait until all of it has come, or remove what was restored.',
        details: { vms },
      })
    }
    if (!uses.isHeld(id)) return
    throw new RametError('IN_USE', {
      message: `snapshot ${name} is being restored or exported`,
      remediation: 'Wait until that is over, or cancel its operation.',
    })
  }

  #announce(snapshot: SnapshotRecord): void {
    const { state } = snapshot
    this.#parts.context.events.emit({ type: 'snapshot.state', resource: resourceOf(snapshot), data: { state } })
  }
}

function resourceOf({ id, name }: SnapshotRecord) {
  return { kind: 'snapshot' as const, id, name }
}

/** A disk that filled up on the way says nothing of how much was wanted. */
function namingNeed(thrown: unknown, { record, deltaBytes, memory, diskBytes }: Taken): unknown {
  const error = asRametError(thrown)
  if (error.code !== 'NO_SPACE' || 'neededBytes' in error.details) return thrown
  const memoryBytes = memory.kind === 'base' ? record.vm.machine.memoryBytes : deltaBytes
  const neededBytes = memoryBytes + diskBytes
  return new RametError('NO_SPACE', {
    message: `no space left for snapshot ${record.name}, which takes ${formatBytes(neededBytes)} at most`,
    cause: error,
    details: { ...error.details, neededBytes },
  })
}
