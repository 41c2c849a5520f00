/** One thread of `stress.ts`. */
import { workerData } from 'node:worker_threads'
import { memoryCalls } from '../../host/anonymous-memory.ts'
import { advice } from '../../host/memory-calls.ts'
import { ArenaCache } from '../arena-cache.ts'
import type { OpportunisticCache } from '../cache.ts'
import { FramePool, handleWords } from '../frame-pool.ts'
import { FreeListCache } from '../free-list-cache.ts'
import { KernelArena } from '../kernel-arena.ts'
import { LruCache } from '../lru-cache.ts'
import { EarlyCheckArena, EarlyCheckPool } from './early-check.ts'
import { isWhole, Payload } from './payload.ts'
import { counter, type StressThread } from './stress.ts'

const pageBytes = 4096
/** reads between two looks at what the others do */
const turnReads = 512
/** what is taken before readers get a moment to fill again */
const burstCount = 64
const burstPauseMs = 0.1

const thread = workerData as StressThread
const { counters, blockBytes, arenas } = thread

let state = (thread.seed + thread.index * 0x9e3779b9) >>> 0
function below(bound: number): number {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0
  return Math.floor((state / 2 ** 32) * bound)
}

function openPool(): FramePool {
  if (thread.frames === undefined) throw new Error('no frames')
  return thread.check === 'after' ? new FramePool(thread.frames) : new EarlyCheckPool(thread.frames)
}

const ownBlocks = Math.max(1, Math.floor(thread.blockCount / thread.readers))

function openCache(): OpportunisticCache {
  if (thread.kind === 'lru') return new LruCache({ capacityBytes: ownBlocks * blockBytes, blockBytes })
  if (thread.kind === 'free-list') return new FreeListCache({ pool: openPool() })
  const Arena = thread.check === 'after' ? KernelArena : EarlyCheckArena
  const arena = new Arena(memoryCalls, { slotCount: ownBlocks, slotBytes: blockBytes })
  arenas[thread.index * 2 + 1] = ownBlocks * blockBytes
  arenas[thread.index * 2] = arena.address
  return new ArenaCache(arena)
}

function read(): void {
  const cache = openCache()
  Atomics.add(counters, counter.ready, 1)
  const payload = new Payload(thread.seed + thread.index, blockBytes)
  const into = Buffer.alloc(blockBytes)
  // More than there is room for in a plain cache, so that its blocks give way too; elsewhere takers see to that.
  const keyCount = Math.ceil(ownBlocks * (thread.kind === 'lru' ? 1.25 : 0.9))
  for (let version = 1; ; ) {
    const turn = { accepted: 0, torn: 0, fills: 0 }
    const lostBefore = cache.figures().lost
    for (let at = 0; at < turnReads; at += 1) {
      const key = below(keyCount)
      const length = cache.read(key, into)
      if (length === undefined) {
        const wanted = below(4) === 0 ? 16 + below(blockBytes - 16) : blockBytes
        cache.put(key, payload.make(key, version, wanted))
        version += 1
        turn.fills += 1
      } else if (isWhole(into.subarray(0, length), key)) turn.accepted += 1
      else turn.torn += 1
    }
    const accepted = Atomics.add(counters, counter.accepted, turn.accepted) + turn.accepted
    const torn = Atomics.add(counters, counter.torn, turn.torn) + turn.torn
    Atomics.add(counters, counter.fills, turn.fills)
    Atomics.add(counters, counter.lost, cache.figures().lost - lostBefore)
    // On a busy host all may have been read before anything was taken.
    const tried = thread.kind === 'lru' || thread.check === 'before' || Atomics.load(counters, counter.lost) > 0
    if ((accepted >= thread.accepted && tried) || (thread.untilTorn && torn > 0)) break
  }
  cache.close()
}

const isOver = () => Atomics.load(counters, counter.stop) === 1
const rest = () => void Atomics.wait(counters, counter.stop, 0, burstPauseMs)

/** Takes frames as any consumer may, writes into them at once, and publishes them or lets them go. */
function takeFrames(): void {
  const pool = new FramePool(thread.frames ?? openPool().shared)
  const rubbish = Buffer.alloc(blockBytes, 0xdd)
  const handle = new Int32Array(handleWords)
  for (; !isOver(); rest()) {
    for (let at = 0; at < burstCount; at += 1) {
      const frame = pool.take()
      if (frame < 0) continue
      pool.write(frame, rubbish)
      if (below(4) === 0) pool.free(frame)
      else pool.publish(frame, handle, 0)
    }
    Atomics.add(counters, counter.taken, burstCount)
  }
}

/** Has the kernel take pages, here and there. */
function takePages(): void {
  for (; !isOver(); rest()) {
    const reader = below(thread.readers)
    const address = arenas[reader * 2] ?? 0
    const pages = (arenas[reader * 2 + 1] ?? 0) / pageBytes
    if (address === 0) continue
    for (let at = 0; at < burstCount; at += 1)
      memoryCalls.advise(address + below(pages) * pageBytes, pageBytes, advice.pageOut)
    Atomics.add(counters, counter.taken, burstCount)
  }
}

/** Wants memory, as a vm that starts does, and gives it back. */
function takeMemory(bytes: number): void {
  const { address } = memoryCalls.map(bytes)
  for (; !isOver(); rest()) {
    memoryCalls.advise(address, bytes, advice.populate)
    memoryCalls.advise(address, bytes, advice.drop)
    Atomics.add(counters, counter.taken, bytes / pageBytes)
  }
}

if (thread.role === 'reader') read()
else if (thread.taking.what === 'memory') takeMemory(thread.taking.bytes)
else if (thread.kind === 'free-list') takeFrames()
else takePages()
