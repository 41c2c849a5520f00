/**
 * Readers that fill what they miss, and takers that take their memory away, all at once, on as many threads. Each block carries a
 * checksum: a reader that accepts one that is not whole has been given torn bytes.
 */
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { CacheKind } from '../cache.ts'
import { FramePool, type SharedFrames } from '../frame-pool.ts'

export interface StressOptions {
  kind: CacheKind
  /** when the generation is compared: `before` the copy is wrong, and is there to show that the stress finds it */
  check: 'after' | 'before'
  readers: number
  /** who takes: `pages` one by one, on request; `memory` so many bytes again and again, which in a control group makes the kernel take */
  taking: { what: 'pages' } | { what: 'memory'; bytes: number }
  /** of all readers together */
  blockCount: number
  blockBytes: number
  /** accepted reads after which it ends */
  accepted: number
  /** ends it at the first torn read too */
  untilTorn?: boolean
  seed: number
}

export interface StressResult {
  kind: CacheKind
  check: 'after' | 'before'
  accepted: number
  /** accepted reads whose checksum was wrong */
  torn: number
  /** misses because the memory had been taken */
  lost: number
  fills: number
  /** frames or pages that takers took, or tried to */
  taken: number
  elapsedMs: number
  seed: number
}

/** words that all threads share */
export const counter = { stop: 0, ready: 1, accepted: 2, torn: 3, lost: 4, fills: 5, taken: 6 } as const
const counterCount = 7

export interface StressThread extends StressOptions {
  role: 'reader' | 'taker'
  index: number
  counters: Int32Array
  /** address and length of the arena of each reader */
  arenas: Float64Array
  frames: SharedFrames | undefined
}

export async function stress(options: StressOptions): Promise<StressResult> {
  const { kind, readers, blockCount, blockBytes, seed, check } = options
  const counters = new Int32Array(new SharedArrayBuffer(counterCount * 4))
  const arenas = new Float64Array(new SharedArrayBuffer(readers * 16))
  const frames = kind === 'free-list' ? FramePool.share({ frameCount: blockCount, frameBytes: blockBytes }) : undefined
  const start = (role: StressThread['role'], index: number) => {
    const workerData: StressThread = { ...options, role, index, counters, arenas, frames }
    // What the threads need besides must not be what makes memory short.
    const resourceLimits = { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 2 }
    return new Worker(new URL('./stress-worker.ts', import.meta.url), { workerData, resourceLimits })
  }
  const startMs = performance.now()
  const reading = Array.from({ length: readers }, (_, index) => start('reader', index))
  // Nobody can take from a plain cache.
  const threads = kind === 'lru' ? reading : [...reading, start('taker', readers)]
  const ends = threads.map((thread) => once(thread, 'exit'))
  try {
    await Promise.all(reading.map((_, index) => ends[index]))
  } finally {
    Atomics.store(counters, counter.stop, 1)
    await Promise.allSettled(ends)
  }
  await Promise.all(ends)
  const count = (name: keyof typeof counter) => counters[counter[name]] ?? 0
  return {
    ...{ kind, check, seed, elapsedMs: performance.now() - startMs },
    ...{ accepted: count('accepted'), torn: count('torn'), lost: count('lost') },
    ...{ fills: count('fills'), taken: count('taken') },
  }
}
