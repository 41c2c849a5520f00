import type { Readable } from 'node:stream'
import type {
  SnapshotCreateInput,
  Snapshot as SnapshotInfo,
  SnapshotRestored,
  SnapshotRestoreInput,
  SnapshotUpdate,
} from '../api/snapshot.ts'
import { type ActionOptions, act } from './action.ts'
import { type CallOptions, split } from './call-options.ts'
import type { ForkError } from './errors.ts'
import { path, type Transport } from './transport.ts'

/** Options of {@link Vm.snapshot}. */
export type SnapshotOptions = SnapshotCreateInput & ActionOptions & { ttlMs?: number }

/** Options of a restore: those of the wire, and how to wait. */
export type RestoreOptions = SnapshotRestoreInput & ActionOptions & { ttlMs?: number }

/** Makes vms of what the wire has; given, since vms have snapshots too. @internal */
export type VmsOf<Made> = (transport: Transport, results: SnapshotRestored['results']) => (Made | ForkError)[]

/** What a restore made, and how: see {@link Snapshot.restoreReport}. */
export type SnapshotRestoreReport<RestoredVm> = Omit<SnapshotRestored, 'results'> & {
  /** One per vm, in order: the vm, or why it was not made. */
  vms: (RestoredVm | ForkError)[]
}

/**
 * Memory, devices and disks of a vm at one moment, on disk. The vm has nothing to do with it any more.
 *
 * @typeParam RestoredVm what it is restored to: `Vm`, which has snapshots itself
 *
 * @example
 * ```ts
 * import { Ramet } from 'ramet'
 * const ramet = new Ramet()
 * const vm = await ramet.vms.get('web')
 * const snapshot = await vm.snapshot({ name: 'before-upgrade', ttlMs: 24 * 3600_000 })
 * console.log(snapshot.info.memory?.storedBytes, snapshot.info.timings?.pauseMs)
 * const [again] = await snapshot.restore({ into: 'new', names: ['web-again'] })
 * ```
 */
export class Snapshot<RestoredVm> {
  readonly #transport: Transport
  readonly #vmsOf: VmsOf<RestoredVm>
  #info: SnapshotInfo

  /** @internal */
  constructor(transport: Transport, info: SnapshotInfo, vmsOf: VmsOf<RestoredVm>) {
    this.#transport = transport
    this.#vmsOf = vmsOf
    this.#info = info
  }

  get id(): string {
    return this.#info.id
  }

  get name(): string {
    return this.#info.name
  }

  get state(): SnapshotInfo['state'] {
    return this.#info.state
  }

  /** Everything that was known of it when last looked at. */
  get info(): SnapshotInfo {
    return this.#info
  }

  toJSON(): SnapshotInfo {
    return this.#info
  }

  /** Looks again. @throws RametApiError `SNAPSHOT_NOT_FOUND` */
  async refresh(options: CallOptions = {}): Promise<SnapshotInfo> {
    this.#info = await this.#transport.json<SnapshotInfo>({ path: this.#path(), signal: options.signal })
    return this.#info
  }

  /** Changes its name, its labels or its time to live. @throws RametApiError `NAME_TAKEN` */
  async update(changes: SnapshotUpdate, options: CallOptions = {}): Promise<SnapshotInfo> {
    const request = { path: this.#path(), json: changes, signal: options.signal }
    this.#info = await this.#transport.json<SnapshotInfo>({ method: 'PATCH', ...request })
    return this.#info
  }

  /**
   * All of it as one stream, to be imported elsewhere; what it stands on is named in it and not part of it.
   *
   * @throws RametApiError `ILLEGAL_STATE`, `CHECKPOINT_DAMAGED`. The stream breaks when the daemon goes, or finds damage on
   *   the way, which `refresh` then has as `failure`; whoever imports less is refused
   */
  async export(options: CallOptions = {}): Promise<Readable> {
    return await this.#transport.stream({ path: `${this.#path()}/export`, signal: options.signal })
  }

  /**
   * Goes back to this moment: the vm that it is of, `into: 'same'`, or new ones, each with an identity of its own. They
   * run before their memory has come, unless several share it. One result each, in order: the vm, or why it was not made.
   *
   * @throws RametApiError when the restore as a whole was refused: `ILLEGAL_STATE` while the vm runs, `NAME_TAKEN`,
   *   `CHECKPOINT_UNFIT`, `CHECKPOINT_DAMAGED`, `NO_CAPACITY`
   */
  async restore(options: RestoreOptions = {}): Promise<(RestoredVm | ForkError)[]> {
    return (await this.restoreReport(options)).vms
  }

  /** The same, with how their memory comes and what it cost. @throws RametApiError */
  async restoreReport(options: RestoreOptions = {}): Promise<SnapshotRestoreReport<RestoredVm>> {
    const { wire, action } = split(options)
    const request = { method: 'POST' as const, path: `${this.#path()}/restore`, json: wire }
    const { results, ...report } = await act<SnapshotRestored>(this.#transport, request, action)
    return { ...report, vms: this.#vmsOf(this.#transport, results) }
  }

  /** Removes it. @throws RametApiError `IN_USE` while the memory of a restored vm comes from it */
  async remove(options: ActionOptions = {}): Promise<void> {
    await act(this.#transport, { method: 'DELETE', path: this.#path() }, options)
  }

  #path(): string {
    return path`/v1/snapshots/${this.#info.id}`
  }
}
