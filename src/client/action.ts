import { randomUUID } from 'node:crypto'
import type { Operation, Progress } from '../api/operation.ts'
import { limits } from '../shared/limits.ts'
import { Retry } from './back-off.ts'
import { localError, RametApiError } from './errors.ts'
import { followEvents } from './events.ts'
import { type ApiRequest, path, type Transport } from './transport.ts'

/** Options of every call that takes a while. */
export interface ActionOptions {
  /** Cancels the operation on the daemon, and rejects with the reason. */
  signal?: AbortSignal
  /** Told of every stage. */
  onProgress?: (progress: Progress, operation: Operation) => void
  /** Makes a repeated call safe: the second answers what the first did. Invented when left out. */
  idempotencyKey?: string
}

/** Starts an action and waits for its result. @throws RametApiError, the signal's reason */
export async function act<T>(transport: Transport, request: ApiRequest, options: ActionOptions = {}): Promise<T> {
  const started = await startAction(transport, request, options)
  if (!('operation' in started)) return started.result as T
  const operation = await waitForOperation(transport, started.operation, options)
  return operation.result as T
}

/**
 * The same for a creating action that is over in a moment: asked for and answered in one request. A second one, to
 * ask how it goes, would keep daemon and client busy just while the action needs them. Stages are not told.
 */
export async function actAtOnce<T>(transport: Transport, request: ApiRequest, options: ActionOptions): Promise<T> {
  const idempotencyKey = options.idempotencyKey ?? randomUUID()
  try {
    const started = await startAction(transport, request, { ...options, idempotencyKey }, true)
    if ('result' in started) return started.result as T
    return (await waitForOperation(transport, started.operation, options)).result as T
  } catch (error) {
    if (transport.withDefault(options.signal)?.aborted) await cancelByKey(transport, request, idempotencyKey)
    throw error
  }
}

/** The id of an operation comes with an answer that nobody waits for any more: its key finds it again. */
async function cancelByKey(transport: Transport, request: ApiRequest, idempotencyKey: string): Promise<void> {
  try {
    const started = await startAction(unbound(transport), request, { idempotencyKey })
    if ('operation' in started) await cancelOperation(transport, started.operation.id)
  } catch {
    // It is over already, or the daemon is gone: either way there is nothing to cancel.
  }
}

/** A broken connection leaves open whether the action began; the key makes asking again safe. */
async function startAction(
  transport: Transport,
  request: ApiRequest,
  options: ActionOptions,
  wait = false,
): Promise<{ operation: Operation } | { result: unknown }> {
  const repeatable = request.body === undefined
  const idempotencyKey = options.idempotencyKey ?? randomUUID()
  const retry = new Retry()
  let broke = false
  for (;;) {
    try {
      const answer = await transport.answer<unknown>({
        ...request,
        query: { ...request.query, wait },
        headers: { ...request.headers, 'idempotency-key': idempotencyKey },
        signal: options.signal,
      })
      return answer.status === 202 ? { operation: answer.body as Operation } : { result: answer.body }
    } catch (error) {
      const unreachable = error instanceof RametApiError && error.code === 'DAEMON_UNREACHABLE'
      broke ||= unreachable && brokeInTheMiddle(error)
      // Once it broke, the daemon may be away for a while: it is being started again.
      if (!unreachable || !broke || !repeatable || !(await retry.again(options.signal))) throw error
    }
  }
}

function brokeInTheMiddle(error: RametApiError): boolean {
  const cause = error.cause
  return cause instanceof Error && 'code' in cause && ['ECONNRESET', 'EPIPE', 'ECONNABORTED'].includes(`${cause.code}`)
}

/**
 * Follows an operation to its end, over restarts of the daemon.
 *
 * @throws RametApiError what it failed with; the signal's reason, after the operation has been cancelled
 */
export async function waitForOperation(
  transport: Transport,
  operation: Operation,
  options: ActionOptions = {},
): Promise<Operation> {
  const signal = transport.withDefault(options.signal)
  const tell = tellOnce(options.onProgress)
  tell?.(operation)
  let final: Operation
  try {
    final = isOver(operation) ? operation : await follow(transport, operation.id, tell, signal)
  } catch (error) {
    if (signal?.aborted) await cancelOperation(transport, operation.id).catch(() => undefined)
    throw error
  }
  if (final.state === 'succeeded') return final
  if (final.error !== undefined) throw new RametApiError(final.error)
  throw localError(final.state === 'cancelled' ? 'CANCELLED' : 'INTERNAL', `operation ${final.id} ${final.state}`)
}

/** Asks an operation to end. Not bound to the client's signal: it is what an abort calls. */
export async function cancelOperation(transport: Transport, id: string): Promise<Operation> {
  return await unbound(transport).json<Operation>({ method: 'POST', path: path`/v1/operations/${id}/cancel` })
}

/** A client of the same daemon that no signal ends. */
function unbound(transport: Transport): Transport {
  return new (transport.constructor as typeof Transport)(transport.target)
}

export function isOver(operation: Operation): boolean {
  return operation.state === 'succeeded' || operation.state === 'failed' || operation.state === 'cancelled'
}

/** Asks again and again, each time for as long as the daemon holds a question; events only tell of the stages. */
async function follow(
  transport: Transport,
  id: string,
  tell: ((operation: Operation) => void) | undefined,
  signal: AbortSignal | undefined,
): Promise<Operation> {
  const done = new AbortController()
  const until = signal === undefined ? done.signal : AbortSignal.any([done.signal, signal])
  const retry = new Retry()
  if (tell !== undefined) listen(transport, id, tell, until)
  try {
    for (;;) {
      try {
        const query = { waitMs: limits.operationWaitMs }
        const operation = await transport.json<Operation>({ path: path`/v1/operations/${id}`, query, signal: until })
        if (isOver(operation)) return operation
        tell?.(operation)
        retry.reset()
      } catch (error) {
        const passing = error instanceof RametApiError && error.retryable
        if (!passing || !(await retry.again(signal))) throw error
      }
    }
  } finally {
    done.abort()
  }
}

/** Stages are a comfort: the answer does not depend on them, so neither does an error here matter. */
function listen(transport: Transport, id: string, tell: (operation: Operation) => void, signal: AbortSignal): void {
  const all = async () => {
    for await (const event of followEvents(transport, { signal, resources: ['operation'] })) {
      const said = 'operation' in event.data ? event.data.operation : event.data
      if (event.resource.id === id && isOperation(said)) tell(said)
    }
  }
  all().catch(() => {})
}

function isOperation(data: unknown): data is Operation {
  return typeof data === 'object' && data !== null && 'id' in data && 'state' in data && 'progress' in data
}

function tellOnce(onProgress: ActionOptions['onProgress']): ((operation: Operation) => void) | undefined {
  if (onProgress === undefined) return undefined
  let told = ''
  return (operation) => {
    const text = JSON.stringify(operation.progress)
    if (text === told || isOver(operation)) return
    told = text
    onProgress(operation.progress, operation)
  }
}
