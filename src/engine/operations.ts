import { isFinal, type Operation, type OperationKind } from '../api/operation.ts'
import { toProblem } from '../api/problem.ts'
import { Bucket } from '../cluster/bucket.ts'
import type { Store } from '../cluster/store.ts'
import type { Clock } from '../shared/clock.ts'
import { asRametError, isRametError, RametError } from '../shared/errors.ts'
import { newId } from '../shared/ids.ts'
import { limits } from '../shared/limits.ts'
import { type Log, silentLog } from '../shared/log.ts'
import type { Action, CallContext } from './contract.ts'
import type { EventLog } from './events.ts'

/** What the code that does the work is given. */
export interface OperationHandle {
  readonly id: string
  /** aborts when somebody cancels the operation or the daemon stops */
  readonly signal: AbortSignal
  progress(progress: Operation['progress']): void
}

interface Live {
  operation: Operation
  readonly abort: AbortController
  /** ids of what it works on beside its target */
  readonly also: readonly string[]
  readonly done: Promise<unknown>
}

/** Long actions: begun, watched, cancelled, and remembered for those who ask later. */
export class Operations {
  readonly #bucket: Bucket<Operation>
  readonly #clock: Clock
  readonly #events: EventLog
  readonly #log: Log
  readonly #live = new Map<string, Live>()
  /** final ones, oldest first */
  readonly #past = new Map<string, Operation>()

  #stopping = false

  constructor(store: Store, clock: Clock, events: EventLog, log: Log = silentLog) {
    this.#log = log
    this.#bucket = new Bucket(store, 'operations', (value) => value as Operation)
    this.#clock = clock
    this.#events = events
  }

  /** Reads what earlier daemons left; what was still under way ended with them. */
  async open(): Promise<void> {
    const rows = (await this.#bucket.list()).sort((a, b) => a.value.createdAt.localeCompare(b.value.createdAt))
    for (const { value } of rows) {
      if (isFinal(value.state)) {
        this.#past.set(value.id, value)
        continue
      }
      const error = new RametError('CANCELLED', {
        message: 'the daemon ended while this was under way; what it had begun was undone or finished at restart',
      })
      await this.#finish({ ...value, state: 'failed', error: toProblem(error) })
    }
  }

  /**
   * Begins an operation. What `work` throws becomes the operation's error and rejects `done`.
   * @param also ids of what it works on beside its target: `cancelOn` finds it by them too
   */
  async begin<T>(
    kind: OperationKind,
    target: Operation['target'],
    context: CallContext | undefined,
    work: (handle: OperationHandle) => Promise<T>,
    also: readonly string[] = [],
  ): Promise<Action<T>> {
    if (this.#stopping) throw new RametError('CANCELLED', { message: 'the daemon is stopping' })
    const now = this.#now()
    const operation: Operation = {
      id: context?.operationId ?? newId('op'),
      kind,
      target,
      state: 'running',
      progress: { stage: 'starting' },
      createdAt: now,
      startedAt: now,
    }
    const abort = new AbortController()
    // Of no use to anybody after a power cut, unless what it does next has been stored too.
    await this.#bucket.create(operation.id, operation, 'kill')
    this.#emit('operation.created', operation)
    const done = this.#run({ operation, abort, also }, work)
    done.catch(() => {})
    return { operation, done }
  }

  list(): Operation[] {
    const live = [...this.#live.values()].map((entry) => entry.operation)
    return [...this.#past.values(), ...live].reverse()
  }

  /** @throws RametError `NOT_FOUND` */
  get(id: string): Operation {
    const operation = this.#live.get(id)?.operation ?? this.#past.get(id)
    if (operation === undefined) throw new RametError('NOT_FOUND', { message: `there is no operation “${id}”` })
    return operation
  }

  /** @throws RametError `NOT_FOUND`, `ILLEGAL_STATE` */
  cancel(id: string): Operation {
    const live = this.#live.get(id)
    if (live === undefined)
      throw new RametError('ILLEGAL_STATE', { message: `operation ${id} is ${this.get(id).state}: too late to cancel` })
    live.abort.abort(new RametError('CANCELLED', { message: `operation ${id} was cancelled` }))
    return live.operation
  }

  /** Cancels what is under way on a thing, of these kinds. @param why for those who wait for them */
  cancelOn(targetId: string, kinds: readonly OperationKind[], why: string): void {
    for (const { operation, abort, also } of this.#live.values()) {
      if (![operation.target.id, ...also].includes(targetId) || !kinds.includes(operation.kind)) continue
      abort.abort(new RametError('CANCELLED', { message: why }))
    }
  }

  async wait(id: string, signal?: AbortSignal): Promise<Operation> {
    const live = this.#live.get(id)
    if (live === undefined) return this.get(id)
    const settled = live.done.then(
      () => {},
      () => {},
    )
    signal?.throwIfAborted()
    const stopped = Promise.withResolvers<never>()
    const onAbort = () => stopped.reject(signal?.reason)
    signal?.addEventListener('abort', onAbort, { once: true })
    try {
      await Promise.race([settled, stopped.promise])
    } finally {
      signal?.removeEventListener('abort', onAbort)
    }
    return this.get(id)
  }

  /** Cancels all and waits for them: the daemon stops. */
  async stop(): Promise<void> {
    this.#stopping = true
    const live = [...this.#live.values()]
    for (const { abort } of live) abort.abort(new RametError('CANCELLED', { message: 'the daemon is stopping' }))
    await Promise.allSettled(live.map((entry) => entry.done))
  }

  async #run<T>(begun: Omit<Live, 'done'>, work: (handle: OperationHandle) => Promise<T>): Promise<T> {
    const { operation, abort } = begun
    const live: Omit<Live, 'done'> & { done: Promise<unknown> } = { ...begun, done: Promise.resolve() }
    let lastToldMs = Number.NEGATIVE_INFINITY
    let isOver = false
    const handle: OperationHandle = {
      id: operation.id,
      signal: abort.signal,
      progress: (progress) => {
        // What it began may go on after it, and tell of that; nobody shall think that it runs again.
        if (isOver) return
        const isNews = progress.stage !== live.operation.progress.stage
        live.operation = { ...live.operation, progress }
        // Copying tells of each chunk; listeners need a few a second, or they lose the events of others.
        const nowMs = this.#clock.monotonicMs()
        if (!isNews && nowMs - lastToldMs < limits.progressIntervalMs) return
        lastToldMs = nowMs
        this.#emit('operation.progress', live.operation)
      },
    }
    const done = (async () => work(handle))().finally(() => {
      isOver = true
    })
    const settled = done.then(
      async (value) => {
        await this.#finish({ ...live.operation, state: 'succeeded', ...(value === undefined ? {} : { result: value }) })
        return value
      },
      async (thrown: unknown) => {
        const error = asRametError(thrown)
        const state = error.code === 'CANCELLED' ? 'cancelled' : 'failed'
        await this.#finish({ ...live.operation, state, error: toProblem(error) })
        throw error
      },
    )
    live.done = settled
    this.#live.set(operation.id, live)
    return settled
  }

  /** What came of the work counts, whether or not it can be written down. */
  async #finish(operation: Operation): Promise<void> {
    const final: Operation = { ...operation, finishedAt: this.#now() }
    await this.#store(final).catch((error: unknown) =>
      this.#log.error({ operation: final.id, error: asRametError(error).message }, 'an operation could not be stored'),
    )
    this.#live.delete(final.id)
    this.#past.set(final.id, final)
    this.#emit('operation.finished', final)
  }

  async #store(final: Operation): Promise<void> {
    const before = await this.#bucket.get(final.id)
    if (before !== undefined) {
      try {
        await this.#bucket.update(before, final)
      } catch (error) {
        if (!isRametError(error, 'TOO_LARGE')) throw error
        // The result of a large fork: told to those who wait, and forgotten with this daemon.
        const { result: _, ...rest } = final
        await this.#bucket.update(before, rest)
      }
    }
    for (const [id] of this.#past) {
      if (this.#past.size < limits.operationHistoryCount) break
      this.#past.delete(id)
      await this.#bucket.delete(id)
    }
  }

  #emit(type: 'operation.created' | 'operation.progress' | 'operation.finished', operation: Operation): void {
    const { result: _, ...summary } = operation
    this.#events.emit({
      type,
      resource: { kind: 'operation', id: operation.id },
      data: { operation: summary },
    })
  }

  #now(): string {
    return new Date(this.#clock.nowMs()).toISOString()
  }
}
