import type { Operation, OperationKind, OperationState } from '../api/operation.ts'
import { type ActionOptions, cancelOperation, waitForOperation } from './action.ts'
import type { CallOptions } from './call-options.ts'
import { allRows } from './pages.ts'
import { path, type Transport } from './transport.ts'

/** Which operations to list. */
export interface OperationListOptions extends CallOptions {
  state?: readonly OperationState[]
  kind?: readonly OperationKind[]
  /** Id or name of what they act on. */
  target?: string
}

/** Long actions, under way and past. Got from `ramet.operations`. */
export class Operations {
  readonly #transport: Transport

  /** @internal */
  constructor(transport: Transport) {
    this.#transport = transport
  }

  /** All that are remembered, newest first. @throws RametApiError */
  async list(options: OperationListOptions = {}): Promise<Operation[]> {
    const { signal, ...query } = options
    return await allRows<Operation>(this.#transport, { path: '/v1/operations', query: { ...query }, signal })
  }

  /** @throws RametApiError `NOT_FOUND` */
  async get(id: string, options: CallOptions = {}): Promise<Operation> {
    return await this.#transport.json<Operation>({ path: path`/v1/operations/${id}`, signal: options.signal })
  }

  /** Asks an operation to end; it undoes what it has done. @throws RametApiError `NOT_FOUND`, `ILLEGAL_STATE` when it is over */
  async cancel(id: string): Promise<Operation> {
    return await cancelOperation(this.#transport, id)
  }

  /** Waits for its end. @throws RametApiError what it failed with; an abort cancels it */
  async wait(id: string, options: ActionOptions = {}): Promise<Operation> {
    return await waitForOperation(this.#transport, await this.get(id, options), options)
  }
}
