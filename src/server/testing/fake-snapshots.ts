import { Readable } from 'node:stream'
import type { Page } from '../../api/primitives.ts'
import type {
  Snapshot,
  SnapshotCreate,
  SnapshotImport,
  SnapshotRestore,
  SnapshotRestored,
  SnapshotUpdate,
} from '../../api/snapshot.ts'
import type { Vm } from '../../api/vm.ts'
import type { Action, CallContext, SnapshotExport, SnapshotMethods, SnapshotQuery } from '../../engine/contract.ts'
import { RametError } from '../../shared/errors.ts'
import { inventName, isName } from '../../shared/ids.ts'
import { FakeOperations, pageOf } from './fake-operations.ts'
import { fakeSnapshot, fakeVm } from './fake-resources.ts'

/** The snapshots of the engine in memory. */
export abstract class FakeSnapshots extends FakeOperations implements SnapshotMethods {
  readonly snapshots = new Map<string, Snapshot>()

  abstract readonly vms: Map<string, Vm>

  protected abstract vm(ref: string): Vm

  async createSnapshot(vmRef: string, request: SnapshotCreate, context?: CallContext): Promise<Action<Snapshot>> {
    this.called('createSnapshot')
    const vm = this.vm(vmRef)
    if (request.name !== undefined && [...this.snapshots.values()].some(({ name }) => name === request.name))
      throw new RametError('NAME_TAKEN', { message: `there is a snapshot “${request.name}” already` })
    const snapshot = fakeSnapshot(request.name ?? inventName(), vm, request.labels)
    return this.act('snapshot.create', targetOf(snapshot), context, () => this.#add(snapshot))
  }

  async listSnapshots(query: SnapshotQuery): Promise<Page<Snapshot>> {
    return pageOf([...this.snapshots.values()], query)
  }

  async getSnapshot(ref: string): Promise<Snapshot> {
    return this.#snapshot(ref)
  }

  async updateSnapshot(ref: string, { ttlSeconds, ...changes }: SnapshotUpdate): Promise<Snapshot> {
    return Object.assign(this.#snapshot(ref), changes, { ttlSeconds: ttlSeconds ?? undefined })
  }

  async restoreSnapshot(
    ref: string,
    request: SnapshotRestore,
    context?: CallContext,
  ): Promise<Action<SnapshotRestored>> {
    this.called('restoreSnapshot')
    const snapshot = this.#snapshot(ref)
    const { name } = snapshot.vm
    if (request.into === 'same' && this.vms.has(snapshot.vm.id))
      throw new RametError('ILLEGAL_STATE', { message: `cannot restore ${name}: it is running` })
    return this.act('snapshot.restore', targetOf(snapshot), context, () => {
      const results = Array.from({ length: request.count }, (_, index) => {
        const own =
          request.into === 'same' ? name : (request.names?.[index] ?? `${request.namePrefix ?? name}-${index}`)
        const vm = fakeVm(own, {})
        this.vms.set(vm.id, vm)
        return { ok: true as const, vm, timings: { loadMs: 20 } }
      })
      snapshot.restoreCount += results.length
      return { results, mode: request.mode ?? (request.count > 1 ? 'shared' : 'lazy'), timings: { totalMs: 400 } }
    })
  }

  async removeSnapshot(ref: string, context?: CallContext): Promise<Action<void>> {
    const snapshot = this.#snapshot(ref)
    return this.act('snapshot.remove', targetOf(snapshot), context, () => {
      this.snapshots.delete(snapshot.id)
    })
  }

  /** Its name is all that it is. */
  async exportSnapshot(ref: string): Promise<SnapshotExport> {
    const bytes = Buffer.from(this.#snapshot(ref).name)
    return { sizeBytes: bytes.length, body: Readable.from([bytes], { objectMode: false }) }
  }

  async importSnapshot(
    { name }: SnapshotImport,
    body: AsyncIterable<Uint8Array>,
    context?: CallContext,
  ): Promise<Action<Snapshot>> {
    this.called('importSnapshot')
    const chunks: Uint8Array[] = []
    for await (const chunk of body) chunks.push(chunk)
    // An archive that says no more than its name.
    const said = Buffer.concat(chunks).toString()
    if (!isName(said)) throw new RametError('CHECKPOINT_DAMAGED', { message: 'this is no snapshot that was exported' })
    const snapshot = fakeSnapshot(name ?? said, fakeVm('web', {}))
    return this.act('snapshot.import', targetOf(snapshot), context, () => this.#add(snapshot))
  }

  #add(snapshot: Snapshot): Snapshot {
    this.snapshots.set(snapshot.id, snapshot)
    this.emit('snapshot.created', targetOf(snapshot))
    return snapshot
  }

  #snapshot(ref: string): Snapshot {
    const snapshot = this.snapshots.get(ref) ?? [...this.snapshots.values()].find(({ name }) => name === ref)
    if (snapshot === undefined) throw new RametError('SNAPSHOT_NOT_FOUND', { message: `there is no snapshot “${ref}”` })
    return snapshot
  }
}

const targetOf = ({ id, name }: Snapshot) => ({ kind: 'snapshot' as const, id, name })
