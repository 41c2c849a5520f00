/** The thread of `hit-cost.ts`. */
import { parentPort, workerData } from 'node:worker_threads'
import type { OpportunisticCache } from '../../src/opportunistic/cache.ts'
import { RecordTable } from '../../src/opportunistic/record-table.ts'
import { makeCache } from '../../src/opportunistic/testing/realisations.ts'
import type { HitSeries, HitTimes } from './hit-cost.ts'

/** bytes copied by one arm in one round: some milliseconds, so that other work of the machine falls into few of them */
const roundBytes = 64 * 1024 * 1024
/** rounds that warm up: code is compiled, pages are there */
const warmRounds = 10
const orderCount = 16

const { kind, setBytes, blockBytes, rounds } = workerData as HitSeries
const count = setBytes / blockBytes
const reads = Math.floor(roundBytes / blockBytes)
const into = Buffer.alloc(blockBytes)
const plain = Buffer.allocUnsafeSlow(setBytes).fill(0x5a)
const other = Buffer.allocUnsafeSlow(setBytes).fill(0x5a)
const table = new RecordTable(count)
const { cache } = makeCache(kind, count, blockBytes)
for (let key = 0; key < count; key += 1) {
  table.add(key, key)
  cache.put(key, plain.subarray(0, blockBytes))
}

/** Keys in an order without pattern. */
function shuffled(seed: number): Int32Array {
  const order = new Int32Array(reads)
  let state = (0x2545f491 * (seed + 1)) >>> 0
  for (let at = 0; at < reads; at += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    order[at] = Math.floor((state / 2 ** 32) * count)
  }
  return order
}

function copyAll(order: Int32Array): void {
  for (const key of order) plain.copy(into, 0, key * blockBytes, (key + 1) * blockBytes)
}

function copyIndexed(order: Int32Array): void {
  for (const key of order) {
    const slot = table.slotOf(table.find(key))
    other.copy(into, 0, slot * blockBytes, (slot + 1) * blockBytes)
  }
}

function readAll(from: OpportunisticCache, order: Int32Array): void {
  let misses = 0
  for (const key of order) if (from.read(key, into) === undefined) misses += 1
  // The kernel may have taken some; then the figure would be of misses.
  if (misses > reads / 100) throw new Error(`${misses} of ${reads} reads were no hits: the host is short of memory`)
}

const orders = Array.from({ length: orderCount }, (_, seed) => shuffled(seed))
const times: HitTimes = { copy: [], indexed: [], hit: [] }
const run = { copy: copyAll, indexed: copyIndexed, hit: (order: Int32Array) => readAll(cache, order) }
for (let round = -warmRounds; round < rounds; round += 1) {
  const order = orders[(round + warmRounds) % orderCount] as Int32Array
  for (const arm of ['copy', 'indexed', 'hit'] as const) {
    const startMs = performance.now()
    run[arm](order)
    if (round >= 0) times[arm].push(((performance.now() - startMs) * 1e6) / reads)
  }
}
cache.close()
parentPort?.postMessage(times)
