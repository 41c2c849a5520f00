import type { Snapshot as SnapshotInfo, SnapshotState } from '../api/snapshot.ts'
import { type ActionOptions, act } from './action.ts'
import { type CallOptions, split } from './call-options.ts'
import { allRows } from './pages.ts'
import { Snapshot } from './snapshot.ts'
import { path, type Transport } from './transport.ts'
import { type Vm, vmsOf } from './vm.ts'

/** Which snapshots to list. */
export interface SnapshotListOptions extends CallOptions {
  state?: readonly SnapshotState[]
  /** Each `key` or `key=value`; all must match. */
  label?: readonly string[]
  /** Id or name of the vm that they are of, which may be gone. */
  vm?: string
}

/** The snapshots of a daemon. Got from `ramet.snapshots`; made by {@link Vm.snapshot}. */
export class Snapshots {
  readonly #transport: Transport

  /** @internal */
  constructor(transport: Transport) {
    this.#transport = transport
  }

  /** A snapshot by id or name. @throws RametApiError `SNAPSHOT_NOT_FOUND` */
  async get(ref: string, options: CallOptions = {}): Promise<Snapshot<Vm>> {
    const request = { path: path`/v1/snapshots/${ref}`, signal: options.signal }
    return new Snapshot(this.#transport, await this.#transport.json<SnapshotInfo>(request), vmsOf)
  }

  /** All snapshots, oldest first. @throws RametApiError */
  async list(options: SnapshotListOptions = {}): Promise<Snapshot<Vm>[]> {
    const { signal, ...query } = options
    const rows = await allRows<SnapshotInfo>(this.#transport, { path: '/v1/snapshots', query: { ...query }, signal })
    return rows.map((info) => new Snapshot(this.#transport, info, vmsOf))
  }

  /**
   * Imports what {@link Snapshot.export} gave, here or on another host, sent as it is read. All of it is checked.
   *
   * @throws RametApiError `IMAGE_NOT_FOUND` or `CHECKPOINT_UNFIT` naming what it needs and is not here,
   *   `CHECKPOINT_DAMAGED`, `NAME_TAKEN`, `NO_SPACE`
   */
  async import(
    content: Uint8Array | AsyncIterable<Uint8Array>,
    options: { name?: string } & ActionOptions = {},
  ): Promise<Snapshot<Vm>> {
    const { wire, action } = split(options)
    const request = {
      method: 'POST',
      path: '/v1/snapshots/import',
      query: { ...wire },
      headers: { 'content-type': 'application/octet-stream' },
      body: content,
    } as const
    return new Snapshot(this.#transport, await act<SnapshotInfo>(this.#transport, request, action), vmsOf)
  }
}
