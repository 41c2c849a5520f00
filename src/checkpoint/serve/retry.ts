import type { Clock } from '../../shared/clock.ts'
import { isRametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'

/** Whether trying again is of no use: what was read is not what was written. */
export function isFinal(error: unknown): boolean {
  return isRametError(error, 'CHECKPOINT_DAMAGED') || isRametError(error, 'BASE_DAMAGED')
}

/**
 * Does it again, after a longer pause each time, where it failed for a reason that may pass: a store that is away for a
 * moment must not cost a guest its life.
 *
 * @throws what it threw at last; the signal's reason
 */
export async function retrying<T>(work: () => Promise<T>, clock: Clock, signal: AbortSignal): Promise<T> {
  let pauseMs: number = limits.pageServerRetryMs
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work()
    } catch (error) {
      if (isFinal(error) || attempt >= limits.pageServerRetryCount) throw error
      await clock.sleep(pauseMs, signal)
      pauseMs = Math.min(pauseMs * 2, limits.pageServerRetryMaxMs)
    }
  }
}
