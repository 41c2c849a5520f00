import type { Readable } from 'node:stream'
import type { Snapshot as SnapshotInfo, SnapshotUpdate } from '../api/snapshot.ts'
import { type ActionOptions, act } from './action.ts'
import type { CallOptions } from './call-options.ts'
import { path, type Transport } from './transport.ts'

/**
 * Memory, devices and disks of a vm at one moment, on disk. The vm has nothing to do with it any more.
 *
 * @example
 * ```ts
 * import { Ramet } from 'ramet'
 * const ramet = new Ramet()
 * const vm = await ramet.vms.get('web')
 * const snapshot = await vm.snapshot({ name: 'before-upgrade', ttlMs: 24 * 3600_000 })
 * console.log(snapshot.info.memory?.storedBytes, snapshot.info.timings?.pauseMs)
 * ```
 */
export class Snapshot {
  readonly #transport: Transport
  #info: SnapshotInfo

  /** @internal */
  constructor(transport: Transport, info: SnapshotInfo) {
    this.#transport = transport
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
   * @throws RametApiError `ILLEGAL_STATE`; the stream breaks when the daemon goes, and whoever imports less is refused
   */
  async export(options: CallOptions = {}): Promise<Readable> {
    return await this.#transport.stream({ path: `${this.#path()}/export`, signal: options.signal })
  }

  /** Removes it. @throws RametApiError `IN_USE` while the memory of a restored vm comes from it */
  async remove(options: ActionOptions = {}): Promise<void> {
    await act(this.#transport, { method: 'DELETE', path: this.#path() }, options)
  }

  #path(): string {
    return path`/v1/snapshots/${this.#info.id}`
  }
}
