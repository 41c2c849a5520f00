/** How often a block is there when it is asked for again, over the size of the cache. */
import { setImmediate } from 'node:timers/promises'
import { BlockCache } from '../../src/checkpoint/serve/block-cache.ts'
import { memoryCalls } from '../../src/host/anonymous-memory.ts'
import { ArenaCache } from '../../src/opportunistic/arena-cache.ts'
import type { Key, OpportunisticCache } from '../../src/opportunistic/cache.ts'
import { FramePool } from '../../src/opportunistic/frame-pool.ts'
import { FreeListCache } from '../../src/opportunistic/free-list-cache.ts'
import { KernelArena } from '../../src/opportunistic/kernel-arena.ts'
import { LruCache } from '../../src/opportunistic/lru-cache.ts'
import type { Pass, Trace } from './trace.ts'

export interface HitRatio {
  /** room, of the different blocks in the trace */
  part: number
  cache: string
  /** of all reads */
  ratio: number
  /** of the reads of each pass, in order */
  passes: number[]
}

export interface OptionEffect {
  cap: boolean
  secondChances: number
  /** hits of a consumer that reads few blocks often, while another one reads many once */
  hotRatio: number
  scanRatio: number
}

/** The order of blocks counts, their content does not: one page stands for each. */
const blockBytes = 4096
const parts = [1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1]

type Read = (key: Key, isFill: boolean) => boolean | Promise<boolean>

/** Caches, and how they are used: in all but the last a block that was missed is put, whoever asked for it. */
const makers: Record<string, (blocks: number) => { cache: OpportunisticCache; read: Read }> = {
  'free-list': (blocks) => keepingAll(freeList(blocks, 0)),
  'free-list, second chances': (blocks) => keepingAll(freeList(blocks, 8)),
  kernel: (blocks) => keepingAll(arena(blocks)),
  lru: (blocks) => keepingAll(new LruCache({ capacityBytes: blocks * blockBytes, blockBytes })),
  'kernel, as the page server uses it': (blocks) => asPageServer(arena(blocks)),
}

function arena(slotCount: number): OpportunisticCache {
  return new ArenaCache(new KernelArena(memoryCalls, { slotCount, slotBytes: blockBytes }))
}

function keepingAll(cache: OpportunisticCache) {
  return { cache, read: (key: Key) => readThrough(cache, key) }
}

function asPageServer(cache: OpportunisticCache) {
  const blocks = new BlockCache(cache)
  const read = async (key: Key, isFill: boolean) => {
    const name = `${key}`
    const there = isFill ? blocks.copy(name, blockBytes, false) : blocks.take(name, blockBytes)
    if (there !== undefined) return true
    if (isFill) blocks.putOfFill(name, content)
    else blocks.put(name, content)
    // It is put when everybody who waited has been answered.
    await setImmediate()
    return false
  }
  return { cache, read }
}

function freeList(frameCount: number, secondChances: number): OpportunisticCache {
  return new FreeListCache({
    pool: new FramePool(FramePool.share({ frameCount, frameBytes: blockBytes, secondChances })),
  })
}

export async function measureHitRatios({ passes }: Trace): Promise<HitRatio[]> {
  const distinct = new Set(passes.flatMap(({ keys }) => keys)).size
  const reads = passes.reduce((sum, { keys }) => sum + keys.length, 0)
  const ratios: HitRatio[] = []
  for (const part of parts) {
    for (const [name, make] of Object.entries(makers)) {
      const { cache, read } = make(Math.max(1, Math.round(distinct * part)))
      const hits: number[] = []
      for (const pass of passes) hits.push(await hitsOf(pass, read))
      cache.close()
      ratios.push({
        ...{ part, cache: name },
        ratio: hits.reduce((sum, one) => sum + one, 0) / reads,
        passes: hits.map((one, pass) => one / (passes[pass]?.keys.length ?? Number.NaN)),
      })
    }
  }
  return ratios
}

async function hitsOf({ keys, fillFrom = keys.length }: Pass, read: Read): Promise<number> {
  let hits = 0
  for (const [at, key] of keys.entries()) if (await read(key, at >= fillFrom)) hits += 1
  return hits
}

const into = Buffer.alloc(blockBytes)
const content = Buffer.alloc(blockBytes, 0x5a)

/** @returns whether it was a hit; after a miss the block is put, as a consumer does when it has fetched it elsewhere */
function readThrough(cache: OpportunisticCache, key: Key): boolean {
  if (cache.read(key, into) !== undefined) return true
  cache.put(key, content)
  return false
}

const poolFrames = 1024
const hotBlocks = 128

/** Two consumers on one pool of frames: one has a small set of its own, the other scans. What cap and second chances do for the first. */
export function measureOptions(): OptionEffect[] {
  const effects: OptionEffect[] = []
  for (const cap of [false, true]) {
    for (const secondChances of [0, 8]) {
      const shared = FramePool.share({ frameCount: poolFrames, frameBytes: blockBytes, secondChances })
      const pool = new FramePool(shared)
      const hot = new FreeListCache({ pool })
      const scan = new FreeListCache({ pool, maxFrames: cap ? poolFrames / 2 : poolFrames })
      let hotHits = 0
      let scanHits = 0
      const reads = 200_000
      for (let at = 0; at < reads; at += 1) {
        hotHits += Number(readThrough(hot, (Math.imul(at, 0x9e3779b1) >>> 0) % hotBlocks))
        for (let more = 0; more < 4; more += 1) scanHits += Number(readThrough(scan, at * 4 + more))
      }
      effects.push({ cap, secondChances, hotRatio: hotHits / reads, scanRatio: scanHits / (reads * 4) })
    }
  }
  return effects
}
