import type { RestoreMode, SnapshotRestore, SnapshotRestored } from '../../api/snapshot.ts'
import { RametError } from '../../shared/errors.ts'
import type { Action, CallContext } from '../contract.ts'
import { checkPorts, childNames, type ForkOrder, forkAll } from '../fork/fork-children.ts'
import type { ForkParts } from '../fork/fork-parts.ts'
import type { OperationHandle } from '../operations.ts'
import type { SnapshotRecord } from '../records.ts'
import { loadMemory } from '../restore/load-memory.ts'
import { checkLimits } from '../vm/limits-of-vm.ts'
import { notReady, openRestorable, type Restorable } from './restorable.ts'
import { checkSame, restoreSame } from './restore-same.ts'
import { lazySource, sharedSource, snapshotDisks } from './snapshot-sources.ts'
import { recordWorkingSet } from './working-set-pages.ts'

interface Run {
  names: readonly string[]
  requestedAtMs: number
  handle: OperationHandle
}

/** Restores snapshots: any number of times, also while the memory of an earlier restore still comes. */
export class SnapshotRestores {
  readonly #parts: ForkParts

  constructor(parts: ForkParts) {
    this.#parts = parts
    parts.restores.onOver = ({ snapshotId }) => {
      if (snapshotId !== undefined) void recordWorkingSet(parts.context, snapshotId)
    }
  }

  /** @throws RametError as `Engine.restoreSnapshot` */
  async restore(
    snapshot: SnapshotRecord,
    request: SnapshotRestore,
    call?: CallContext,
  ): Promise<Action<SnapshotRestored>> {
    const requestedAtMs = call?.requestedAtMs ?? performance.now()
    const { context } = this.#parts
    if (snapshot.state !== 'ready') throw notReady(snapshot)
    const isSame = request.into === 'same'
    if (isSame) checkSame(context, snapshot, request)
    else checkLimits(request.limits, snapshot.vm.machine.memoryBytes)
    const names = isSame ? [] : childNames(context, snapshot.vm, { ...request, atomic: false })
    checkPorts(names, request.ports)
    const target = { kind: 'snapshot' as const, id: snapshot.id, name: snapshot.name }
    const work = async (handle: OperationHandle) => {
      // Until each vm has a record that names it.
      using _ = this.#parts.uses.hold(snapshot.id)
      // It may have gone since the call came; from here on it cannot.
      const restorable = await openRestorable(this.#parts, context.snapshots.find(snapshot.id), handle.id)
      const run = { names, requestedAtMs, handle }
      await this.#parts.fingerprints.checkSnapshot(restorable.snapshot)
      const restored = isSame
        ? await restoreSame(this.#parts, restorable, request, run)
        : await this.#restoreNew(restorable, request, run)
      await this.#count(snapshot.id, restored)
      return restored
    }
    // Whoever ends the vm that goes back ends this too.
    return context.operations.begin('snapshot.restore', target, call, work, isSame ? [snapshot.vm.id] : [])
  }

  async #restoreNew(restorable: Restorable, request: SnapshotRestore, run: Run): Promise<SnapshotRestored> {
    const { mode = run.names.length > 1 ? 'shared' : 'lazy' } = request
    if (mode !== 'lazy') return this.#restoreLoaded(restorable, request, { ...run, mode })
    const disks = await snapshotDisks(this.#parts.context, restorable.snapshot, run.names.length)
    const source = lazySource(this.#parts, restorable, { disks, policy: request.policy })
    const result = await forkAll(this.#parts, orderOf(restorable, request, { ...run, source }), run.handle)
    const [first] = result.results
    const isRefused = result.results.every((child) => !child.ok && child.error.code === 'HOST_UNFIT')
    if (request.mode === undefined && isRefused && first?.ok === false) {
      const warning =
        `memory was loaded before the vm ran: ${first.error.detail} ${first.error.remediation ?? ''}`.trim()
      const eager = await this.#restoreLoaded(restorable, request, { ...run, mode: 'eager' })
      return { ...eager, warnings: [warning, ...(eager.warnings ?? [])] }
    }
    return { ...result, mode, ...warningsOf(restorable) }
  }

  /** Loaded once, whatever the number of vms. */
  async #restoreLoaded(
    restorable: Restorable,
    request: SnapshotRestore,
    run: Run & { mode: RestoreMode },
  ): Promise<SnapshotRestored> {
    const { snapshot, checkpoint, path, base } = restorable
    const disks = await snapshotDisks(this.#parts.context, snapshot, run.names.length)
    const startMs = performance.now()
    const file = { path, digest: checkpoint.digest, ...(base === undefined ? {} : { base }) }
    const memory = await loadMemory(this.#parts, { ...file, what: `snapshot ${snapshot.name}` }, run.handle)
    try {
      const foldMs = performance.now() - startMs
      const source = sharedSource(restorable, memory, disks)
      const result = await forkAll(this.#parts, orderOf(restorable, request, { ...run, source }), run.handle)
      return { ...result, timings: { foldMs, ...result.timings }, mode: run.mode, ...warningsOf(restorable) }
    } finally {
      await memory.release()
    }
  }

  async #count(id: string, { results }: SnapshotRestored): Promise<void> {
    const made = results.filter(({ ok }) => ok).length
    if (made === 0) return
    const { events, snapshots } = this.#parts.context
    const { name } = await snapshots.update(id, ({ restoreCount }) => ({ restoreCount: restoreCount + made }))
    events.emit({ type: 'snapshot.updated', resource: { kind: 'snapshot', id, name } })
  }
}

function orderOf(
  { snapshot }: Restorable,
  request: SnapshotRestore,
  { names, requestedAtMs, source }: Run & Pick<ForkOrder, 'source'>,
): ForkOrder {
  const agent = snapshot.vm.identity !== 'none'
  if (!agent && (request.files.length > 0 || request.ports.length > 0 || Object.keys(request.environment).length > 0))
    throw new RametError('INVALID_ARGUMENT', {
      message: `files, ports and environment need the agent, which vms of snapshot ${snapshot.name} do not have`,
      remediation: 'Leave them out; or boot the vm anew, and use them then.',
    })
  return { source, names, requestedAtMs, request: { ...request, agent, atomic: false } }
}

function warningsOf({ snapshot }: Restorable): { warnings?: string[] } {
  if (snapshot.vm.identity === 'none')
    return {
      warnings: ['the vm had no identity of its own: what is restored of it has none either, and its links stay down'],
    }
  if (snapshot.frozen) return {}
  return {
    warnings: [
      'it was saved without a freeze: until its identity was proved, its workload executed in the name of the vm that it is of',
    ],
  }
}
