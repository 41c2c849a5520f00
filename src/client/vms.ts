import type { Vm as VmInfo, VmState } from '../api/vm.ts'
import type { CallOptions } from './call-options.ts'
import { allRows } from './pages.ts'
import { path, type Transport } from './transport.ts'
import { createVm, Vm, type VmCreateOptions } from './vm.ts'

/** Which vms to list. */
export interface VmListOptions extends CallOptions {
  /** Only those in one of these states. */
  state?: readonly VmState[]
  /** Only those with all of these labels: `key`, or `key=value`. */
  label?: readonly string[]
  /** Only children of this template or vm, by id or name. */
  parent?: string
}

/** The vms of a daemon. Got from `ramet.vms`. */
export class Vms {
  readonly #transport: Transport

  /** @internal */
  constructor(transport: Transport) {
    this.#transport = transport
  }

  /** Creates a vm, as {@link Vm.create}. @throws RametApiError */
  async create(options: VmCreateOptions): Promise<Vm> {
    return await createVm(this.#transport, options)
  }

  /** A vm by id or name. @throws RametApiError `VM_NOT_FOUND` */
  async get(ref: string, options: CallOptions = {}): Promise<Vm> {
    const request = { path: path`/v1/vms/${ref}`, signal: options.signal }
    return new Vm(this.#transport, await this.#transport.json<VmInfo>(request))
  }

  /** All vms, oldest first. @throws RametApiError */
  async list(options: VmListOptions = {}): Promise<Vm[]> {
    const { signal, ...query } = options
    const rows = await allRows<VmInfo>(this.#transport, { path: '/v1/vms', query: { ...query }, signal })
    return rows.map((info) => new Vm(this.#transport, info))
  }
}
