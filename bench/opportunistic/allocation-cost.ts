/** What an allocation costs where memory is in use as cache: from the free list, and by eviction. */
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FramePool, handleWords } from '../../src/opportunistic/frame-pool.ts'
import { LinkedList } from '../../src/opportunistic/linked-list.ts'
import { RecordTable } from '../../src/opportunistic/record-table.ts'
import { quantile } from '../summary.ts'

export interface AllocationCost {
  what: string
  /** of one allocation, nanoseconds: what a quarter, half and 99 of 100 batches stayed below */
  p25Ns: number
  p50Ns: number
  p99Ns: number
  /** allocations in a batch, whose mean is one sample */
  batch: number
}

export interface AllocationCosts {
  /** ordinary allocation with this part of the free memory held as cache */
  freeList: (AllocationCost & { heldPart: number; secondChances: number })[]
  /** eviction by other means */
  eviction: AllocationCost[]
}

const frameBytes = 4096
const frameCount = 65_536
const batch = 1024

export function measureAllocations(rounds: number): AllocationCosts {
  const held = [0, 0.5, 1]
  const freeList = held.map((part) => fromFreeList(part, 0, rounds))
  freeList.push(fromFreeList(1, 8, rounds))
  return { freeList, eviction: [cleanByMap(rounds), cleanByList(rounds), ...dirty()] }
}

/** Takes every frame of a pool, of which a part was published; frames that are held carry content and were read. */
function fromFreeList(heldPart: number, secondChances: number, rounds: number) {
  const pool = new FramePool(FramePool.share({ frameCount, frameBytes, secondChances }))
  const handles = new Int32Array(frameCount * handleWords)
  const content = Buffer.alloc(frameBytes, 0x5a)
  const into = Buffer.alloc(frameBytes)
  const taken = new Int32Array(frameCount)
  const samples: number[] = []
  for (let round = -2; round < rounds; round += 1) {
    for (let at = 0; at < frameCount; at += 1) taken[at] = pool.take()
    for (let at = 0; at < frameCount; at += 1) {
      const frame = taken[at] as number
      if (at >= frameCount * heldPart) pool.free(frame)
      else {
        pool.write(frame, content)
        pool.publish(frame, handles, at * handleWords)
        if (secondChances > 0 && at % 2 === 0) pool.read(handles, at * handleWords, into, 0, frameBytes)
      }
    }
    for (let from = 0; from < frameCount; from += batch) {
      const startMs = performance.now()
      for (let at = 0; at < batch; at += 1) taken[from + at] = pool.take()
      if (round >= 0) samples.push(((performance.now() - startMs) * 1e6) / batch)
    }
    for (const frame of taken) pool.free(frame)
  }
  const chances = secondChances === 0 ? '' : ', half of it hot, with second chances'
  return { heldPart, secondChances, ...cost(`free list, ${heldPart * 100} % held${chances}`, samples, batch) }
}

/** The way of least code: the oldest entry of a `Map`. */
function cleanByMap(rounds: number): AllocationCost {
  const blocks = new Map<number, number>()
  for (let key = 0; key < frameCount; key += 1) blocks.set(scatter(key), key)
  let next = frameCount
  return timed('LRU eviction, clean, JavaScript Map', rounds, () => {
    const oldest = blocks.keys().next().value as number
    const frame = blocks.get(oldest) as number
    blocks.delete(oldest)
    blocks.set(scatter(next), frame)
    next += 1
  })
}

/** As `LruCache` does it: the list and the index, without the copy of what comes instead. */
function cleanByList(rounds: number): AllocationCost {
  const evict = listEviction()
  return timed('LRU eviction, clean, list in typed arrays', rounds, () => void evict())
}

function listEviction(): () => number {
  const order = new LinkedList(new Int32Array(LinkedList.wordCount(frameCount)))
  order.clear()
  const table = new RecordTable(frameCount)
  for (let slot = 0; slot < frameCount; slot += 1) {
    order.addLast(slot)
    table.add(scatter(slot), slot)
  }
  let next = frameCount
  return () => {
    const slot = order.first
    order.remove(slot)
    table.remove(slot)
    table.add(scatter(next), slot)
    order.addLast(slot)
    next += 1
    return slot
  }
}

/** What was written and has to be kept must be written out first. */
function dirty(): AllocationCost[] {
  const directory = mkdtempSync(join(tmpdir(), 'ramet-eviction-'))
  const fd = openSync(join(directory, 'pages'), 'w')
  const page = Buffer.alloc(frameBytes, 0x5a)
  try {
    const buffered = listEviction()
    const write = timed('LRU eviction, dirty, written to the page cache', 4, () => {
      writeSync(fd, page, 0, frameBytes, buffered() * frameBytes)
    })
    const durable = listEviction()
    const samples: number[] = []
    for (let at = 0; at < 64; at += 1) {
      const startMs = performance.now()
      writeSync(fd, page, 0, frameBytes, durable() * frameBytes)
      fdatasyncSync(fd)
      samples.push((performance.now() - startMs) * 1e6)
    }
    return [write, cost('LRU eviction, dirty, written and flushed', samples, 1)]
  } finally {
    closeSync(fd)
    rmSync(directory, { recursive: true })
  }
}

function timed(what: string, rounds: number, allocate: () => void): AllocationCost {
  const samples: number[] = []
  for (let sample = -16; sample < rounds * 16; sample += 1) {
    const startMs = performance.now()
    for (let at = 0; at < batch; at += 1) allocate()
    if (sample >= 0) samples.push(((performance.now() - startMs) * 1e6) / batch)
  }
  return cost(what, samples, batch)
}

function cost(what: string, samples: readonly number[], size: number): AllocationCost {
  const part = (of: number) => quantile(samples, of)
  return { what, p25Ns: part(0.25), p50Ns: part(0.5), p99Ns: part(0.99), batch: size }
}

/** Keys without order. */
const scatter = (key: number) => Math.imul(key, 0x9e3779b1) >>> 0
