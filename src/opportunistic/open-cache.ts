import type { MemoryCalls } from '../host/memory-calls.ts'
import { ownMemoryLimitBytes } from '../host/memory-limit.ts'
import { assert } from '../shared/assert.ts'
import { errnoOf } from '../shared/errors.ts'
import { formatBytes, limits } from '../shared/limits.ts'
import { type Log, silentLog } from '../shared/log.ts'
import { ArenaCache } from './arena-cache.ts'
import { type ArenaReadings, arenaObstacle, arenaReadings } from './arena-trial.ts'
import type { OpportunisticCache } from './cache.ts'
import type { FramePool } from './frame-pool.ts'
import { FreeListCache } from './free-list-cache.ts'
import { KernelArena } from './kernel-arena.ts'
import { LruCache } from './lru-cache.ts'

/** What is asked of the host, so that tests can have another one. */
export interface CacheHost {
  /** Loads the library for system calls. Rejects where there is none. */
  loadCalls(): Promise<MemoryCalls>
  readings: ArenaReadings
  memoryLimitBytes(): number | undefined
}

export const cacheHost: CacheHost = {
  // Not at the top: a host without the library has a cache all the same.
  loadCalls: async () => (await import('../host/anonymous-memory.ts')).memoryCalls,
  readings: arenaReadings,
  memoryLimitBytes: ownMemoryLimitBytes,
}

export interface OpenCacheOptions {
  /** address space for blocks; memory is used as they come, and taken back by the kernel when it is wanted */
  capacityBytes: number
  /** of the largest block; whole pages */
  blockBytes: number
  /** frames to fall back on, shared with others of this process */
  pool?: FramePool
  /** of a cache whose memory nobody else can take */
  boundedBytes?: number
  /** gets one warning when the cache is not what was asked for */
  log?: Log
  host?: CacheHost
}

/**
 * Opens a cache in memory that the kernel may take for anybody; where that cannot be had, one in a pool of frames, if
 * there is one whose frames are of the right size, or a small one that nobody can take from. Never fails for want of these.
 */
export async function openCache(options: OpenCacheOptions): Promise<OpportunisticCache> {
  const { blockBytes, log = silentLog, host = cacheHost } = options
  assert(options.capacityBytes >= blockBytes, 'a cache has room for a block')
  const limitBytes = host.memoryLimitBytes()
  const capacityBytes = roomWithin(options.capacityBytes, limitBytes)
  const arena = await openArena(host, capacityBytes, blockBytes)
  if (typeof arena === 'string') return fallBack(options, capacityBytes, arena)
  if (capacityBytes < options.capacityBytes) {
    const group = `the control group of this process has ${formatBytes(limitBytes ?? 0)}`
    const wanted = `${formatBytes(capacityBytes)} instead of ${formatBytes(options.capacityBytes)}`
    log.warn({ limitBytes, capacityBytes }, `${group}: the cache has ${wanted}`)
  }
  return arena
}

/** What is left of a wish under a limit that is smaller. */
function roomWithin(capacityBytes: number, limitBytes: number | undefined): number {
  if (limitBytes === undefined || limitBytes >= capacityBytes) return capacityBytes
  return Math.floor(limitBytes * limits.arenaGroupPart)
}

/** @returns why there is none */
async function openArena(host: CacheHost, capacityBytes: number, slotBytes: number): Promise<ArenaCache | string> {
  const slotCount = Math.floor(capacityBytes / slotBytes)
  if (slotCount < limits.arenaMinBlocks) return `there is room for ${slotCount} blocks only`
  let calls: MemoryCalls
  try {
    calls = await host.loadCalls()
  } catch (error) {
    return `the library for system calls (koffi) cannot be loaded (${errnoOf(error) ?? String(error)})`
  }
  const obstacle = arenaObstacle(calls, host.readings)
  if (obstacle !== undefined) return obstacle
  try {
    return new ArenaCache(new KernelArena(calls, { slotCount, slotBytes }))
  } catch (error) {
    return `${formatBytes(capacityBytes)} cannot be mapped (${errnoOf(error) ?? String(error)})`
  }
}

function fallBack(options: OpenCacheOptions, roomBytes: number, why: string): OpportunisticCache {
  const { blockBytes, pool, boundedBytes = limits.boundedCacheBytes, log = silentLog } = options
  if (pool !== undefined && pool.frameBytes >= blockBytes) {
    const maxFrames = Math.max(1, Math.floor(options.capacityBytes / pool.frameBytes))
    log.warn({ why }, `${why}: the cache uses a pool of frames, which stay with this process`)
    return new FreeListCache({ pool, maxFrames })
  }
  const capacityBytes = Math.max(blockBytes, Math.min(roomBytes, boundedBytes))
  const size = `${formatBytes(capacityBytes)} that nobody else can use`
  log.warn({ why, capacityBytes }, `${why}: the cache is a plain one of ${size}`)
  return new LruCache({ capacityBytes, blockBytes })
}
