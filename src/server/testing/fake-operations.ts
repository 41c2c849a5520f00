/** The part of the engine in memory that everything else of it needs: operations, events, and calls that fail. */
import { EventEmitter } from 'node:events'
import type { Event, EventType } from '../../api/event.ts'
import { isFinal, type Operation, type OperationKind } from '../../api/operation.ts'
import type { Page, PageQuery } from '../../api/primitives.ts'
import { toProblem } from '../../api/problem.ts'
import type { Action, CallContext, EventSubscription, OperationQuery } from '../../engine/contract.ts'
import { asRametError, RametError } from '../../shared/errors.ts'
import { newId } from '../../shared/ids.ts'
import { now } from './fake-resources.ts'

interface Kept {
  operation: Operation
  cancel: AbortController
  done: Promise<unknown>
}

export class FakeOperations {
  readonly operations = new Map<string, Kept>()
  readonly events: Event[] = []
  readonly bus = new EventEmitter().setMaxListeners(0)
  /** events before this id are forgotten */
  oldestEventId = 1
  /** actions wait here before they begin to do anything */
  gate: Promise<void> = Promise.resolve()
  /** calls that reached the engine, by method */
  readonly calls: string[] = []
  /** the next call of any method fails with this */
  failNext: Error | undefined

  emit(type: EventType, resource: Event['resource'], data: Record<string, unknown> = {}): void {
    const event: Event = { id: this.events.length + 1, at: now(), type, resource, data }
    this.events.push(event)
    this.bus.emit('event', event)
  }

  protected called(method: string): void {
    this.calls.push(method)
    const error = this.failNext
    this.failNext = undefined
    if (error !== undefined) throw error
  }

  protected act<T>(
    kind: OperationKind,
    target: { kind: 'vm' | 'template' | 'snapshot' | 'image'; id: string; name: string },
    context: CallContext | undefined,
    work: (signal: AbortSignal) => T,
  ): Action<T> {
    const id = context?.operationId ?? newId('op')
    const cancel = new AbortController()
    const operation: Operation = { id, kind, target, state: 'running', progress: { stage: 'work' }, createdAt: now() }
    const cancelled = new Promise<never>((_, reject) => {
      cancel.signal.addEventListener('abort', () =>
        reject(new RametError('CANCELLED', { message: `${kind} of ${target.name} was cancelled` })),
      )
    })
    const done = Promise.race([this.gate, cancelled])
      .then(() => work(cancel.signal))
      .then(
        (result) => {
          Object.assign(operation, { state: 'succeeded', result, finishedAt: now() })
          return result
        },
        (error: unknown) => {
          const failure = asRametError(error)
          const state = failure.code === 'CANCELLED' ? 'cancelled' : 'failed'
          Object.assign(operation, { state, error: toProblem(failure), finishedAt: now() })
          throw failure
        },
      )
      .finally(() => this.emit('operation.finished', { kind: 'operation', id }, { operation }))
    done.catch(() => {})
    cancelled.catch(() => {})
    this.operations.set(id, { operation, cancel, done })
    return { operation: { ...operation }, done }
  }

  #operation(id: string): Kept {
    const kept = this.operations.get(id)
    if (kept === undefined) throw new RametError('NOT_FOUND', { message: `there is no operation ${id}` })
    return kept
  }

  async listOperations(query: OperationQuery): Promise<Page<Operation>> {
    return pageOf([...this.operations.values()].map(({ operation }) => operation).reverse(), query)
  }

  async getOperation(id: string): Promise<Operation> {
    return { ...this.#operation(id).operation }
  }

  async cancelOperation(id: string): Promise<Operation> {
    this.calls.push('cancelOperation')
    const { operation, cancel } = this.#operation(id)
    if (isFinal(operation.state)) throw new RametError('ILLEGAL_STATE', { message: `${id} is over` })
    cancel.abort()
    return { ...operation }
  }

  async waitOperation(id: string, signal?: AbortSignal): Promise<Operation> {
    const { operation, done } = this.#operation(id)
    const aborted = new Promise<never>((_, reject) => {
      signal?.addEventListener('abort', () => reject(signal.reason), { once: true })
    })
    await Promise.race([done.catch(() => {}), aborted])
    return { ...operation }
  }

  subscribeEvents({ afterId }: { afterId?: number | undefined }, listener: (event: Event) => void): EventSubscription {
    if (afterId !== undefined)
      for (const event of this.events) if (event.id > afterId && event.id >= this.oldestEventId) listener(event)
    this.bus.on('event', listener)
    return {
      missed: afterId !== undefined && afterId + 1 < this.oldestEventId,
      latestId: this.events.length,
      unsubscribe: () => this.bus.off('event', listener),
    }
  }
}

export function pageOf<T>(all: T[], { limit, cursor }: PageQuery): Page<T> {
  const from = cursor === undefined ? 0 : Number(cursor)
  if (!Number.isSafeInteger(from) || from < 0)
    throw new RametError('INVALID_ARGUMENT', { message: 'query.cursor: not a cursor of this list' })
  const items = all.slice(from, from + limit)
  return { items, ...(from + limit < all.length ? { nextCursor: String(from + limit) } : {}) }
}
