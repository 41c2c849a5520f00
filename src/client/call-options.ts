import type { ActionOptions } from './action.ts'

/** Options of every call. */
export interface CallOptions {
  signal?: AbortSignal
}

/** Takes apart what goes over the wire and what stays here. @internal */
export function split<T extends ActionOptions & { ttlMs?: number }>(
  options: T,
): { wire: Omit<T, keyof ActionOptions | 'ttlMs'> & { ttlSeconds?: number }; action: ActionOptions } {
  const { signal, onProgress, idempotencyKey, ttlMs, ...wire } = options
  return {
    wire: ttlMs === undefined ? wire : { ...wire, ttlSeconds: ttlMs / 1000 },
    action: {
      ...(signal === undefined ? {} : { signal }),
      ...(onProgress === undefined ? {} : { onProgress }),
      ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
    },
  }
}
