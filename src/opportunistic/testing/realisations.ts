import { memoryCalls } from '../../host/anonymous-memory.ts'
import { advice } from '../../host/memory-calls.ts'
import { ArenaCache } from '../arena-cache.ts'
import type { CacheKind, OpportunisticCache } from '../cache.ts'
import { FramePool } from '../frame-pool.ts'
import { FreeListCache } from '../free-list-cache.ts'
import { KernelArena } from '../kernel-arena.ts'
import { LruCache } from '../lru-cache.ts'

export const kinds: readonly CacheKind[] = ['free-list', 'kernel', 'lru']

export interface CacheUnderTest {
  cache: OpportunisticCache
  /** Somebody else takes all memory that can be taken. @returns whether blocks can be lost by it */
  takeAll(): boolean
}

/** A cache of each kind, with somebody beside it who can take its memory. */
export function makeCache(kind: CacheKind, blockCount: number, blockBytes: number): CacheUnderTest {
  if (kind === 'lru') {
    const cache = new LruCache({ capacityBytes: blockCount * blockBytes, blockBytes })
    return { cache, takeAll: () => false }
  }
  if (kind === 'free-list') {
    const pool = new FramePool(FramePool.share({ frameCount: blockCount, frameBytes: blockBytes }))
    return { cache: new FreeListCache({ pool }), takeAll: () => takeFrames(pool) }
  }
  const arena = new KernelArena(memoryCalls, { slotCount: blockCount, slotBytes: blockBytes })
  const cache = new ArenaCache(arena)
  return {
    cache,
    takeAll() {
      cache.settle()
      memoryCalls.advise(arena.address, blockCount * blockBytes, advice.pageOut)
      return true
    },
  }
}

function takeFrames(pool: FramePool): boolean {
  const taken: number[] = []
  for (let frame = pool.take(); frame >= 0; frame = pool.take()) {
    pool.write(frame, Buffer.alloc(pool.frameBytes, 0xee))
    taken.push(frame)
  }
  for (const frame of taken) pool.free(frame)
  return true
}
