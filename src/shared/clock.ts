/** Where time comes from. Injected, so that tests and the simulator own it. */
export interface Clock {
  /** wall clock, milliseconds since the epoch, with fractions */
  nowMs(): number
  /** monotonic, milliseconds with fractions, arbitrary origin */
  monotonicMs(): number
  /** resolves after `ms`, or rejects with the signal's reason */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
}

export const systemClock: Clock = {
  nowMs: () => performance.timeOrigin + performance.now() + wallDriftMs(),
  monotonicMs: () => performance.now(),
  sleep: (ms, signal) =>
    new Promise((resolve, reject) => {
      signal?.throwIfAborted()
      const onAbort = () => {
        clearTimeout(timer)
        reject(signal?.reason)
      }
      const timer = setTimeout(() => {
        signal?.removeEventListener('abort', onAbort)
        resolve()
      }, ms)
      signal?.addEventListener('abort', onAbort, { once: true })
    }),
}

/** `performance` keeps the wall clock of process start; a step of the host clock since then shows here. */
function wallDriftMs(): number {
  const drift = Date.now() - (performance.timeOrigin + performance.now())
  return Math.abs(drift) > 2 ? drift : 0
}
