import type { Clock } from '../shared/clock.ts'
import { RametError } from '../shared/errors.ts'

export interface WaitOptions {
  signal?: AbortSignal | undefined
  timeoutMs?: number | undefined
}

/** A signal that fires when `signal` does or after `timeoutMs`, with the error to throw as its reason. */
export interface Deadline extends Disposable {
  readonly signal: AbortSignal
}

/**
 * @param onTimeout makes the error for a wait that took too long
 * @throws RametError `CANCELLED` when the signal has fired already
 */
export function startDeadline(
  clock: Clock,
  { signal, timeoutMs }: WaitOptions & { timeoutMs: number },
  onTimeout: () => RametError,
): Deadline {
  throwIfCancelled(signal)
  const wait = new AbortController()
  const timer = new AbortController()
  const onAbort = () => wait.abort(cancelled(signal?.reason))
  signal?.addEventListener('abort', onAbort, { once: true })
  clock.sleep(timeoutMs, timer.signal).then(
    () => wait.abort(onTimeout()),
    () => {},
  )
  return {
    signal: wait.signal,
    [Symbol.dispose]() {
      signal?.removeEventListener('abort', onAbort)
      timer.abort()
    },
  }
}

/** `promise`, or the signal's reason if that fires first. */
export function race<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(cancelled(signal.reason))
    if (signal.aborted) onAbort()
    else signal.addEventListener('abort', onAbort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}

/** @throws RametError `CANCELLED`, or the signal's reason if that is one of ours */
export function throwIfCancelled(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw cancelled(signal.reason)
}

function cancelled(reason: unknown): RametError {
  if (reason instanceof RametError) return reason
  return new RametError('CANCELLED', { message: 'the call was cancelled', cause: reason })
}
