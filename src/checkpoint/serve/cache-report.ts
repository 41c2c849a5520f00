/** What clients are told of the cache, and may ask of it. */
import { setImmediate } from 'node:timers/promises'
import { readFreeMemory } from '../../host/free-memory.ts'
import type { OpportunisticCache } from '../../opportunistic/cache.ts'
import { limits } from '../../shared/limits.ts'
import type { CacheReport } from './cache-schema.ts'

/** Costs a millisecond or so for each gigabyte that this process has resident. */
export function reportOf(cache: OpportunisticCache): CacheReport {
  return { kind: cache.kind, ...cache.figures(), ...lazyFree() }
}

function lazyFree(): Pick<CacheReport, 'lazyFreeBytes'> {
  try {
    return { lazyFreeBytes: readFreeMemory().lazyFreeBytes }
  } catch {
    // A kernel that does not tell.
    return {}
  }
}

/**
 * Gives memory back piece by piece: guests that wait for a page come in between.
 *
 * @returns bytes given back, some more or less than asked for
 */
export async function giveBack(cache: OpportunisticCache, bytes: number): Promise<number> {
  let done = 0
  while (done < bytes) {
    const given = cache.giveBack(Math.min(bytes - done, limits.pageServerGiveBackBytes))
    if (given === 0) break
    done += given
    await setImmediate()
  }
  return done
}
