import assert from 'node:assert/strict'
import { join } from 'node:path'
import process from 'node:process'
import { test } from 'node:test'
import { identify } from '../../host/process-identity.ts'
import { pageBytes } from '../../memory/base.ts'
import { LruCache } from '../../opportunistic/lru-cache.ts'
import { silentLog } from '../../shared/log.ts'
import { fillText, randomOf, sampleGuest, withDirectory } from '../file/testing/sample.ts'
import { writeWorkingSetFile } from '../file/working-set.ts'
import { type CheckpointParts, physicalOrder, type WrittenCheckpoint, writeCheckpoint } from '../file/write.ts'
import { cachedBlockBytes } from './block-cache-size.ts'
import { PageServerClient } from './client.ts'
import { hitRatio } from './prefetch-sample.ts'
import { type RestoreRequest, socketName } from './protocol.ts'
import { readExpected } from './record.ts'
import { PageServer } from './server.ts'
import type { RestoreStats } from './stats-schema.ts'
import { outcome } from './testing/served-guest.ts'
import { SimulatedGuest } from './testing/simulated-guest.ts'

// Walks and samples follow from the seed: RAMET_FUZZ_SEED=N replays a run.
const seed = Number(process.env.RAMET_FUZZ_SEED ?? 1)
const pageCount = 4096
const own = identify(process.pid)
assert.ok(own !== undefined)

/** One page of zeros in eight; the firmware is two pages. */
function storedGuest(): { memory: Buffer; parts: CheckpointParts } {
  const random = randomOf(seed)
  const text = Buffer.alloc(1024 * 1024)
  fillText(text, random)
  const memory = Buffer.alloc(pageCount * pageBytes)
  for (let page = 0; page < pageCount; page += 1) {
    if (random(8) === 0) continue
    const start = random(text.length - pageBytes)
    text.copy(memory, page * pageBytes, start, start + pageBytes)
    memory.writeUInt32LE(page + 1, page * pageBytes)
  }
  const { locality: _, ...parts } = sampleGuest({ pageCount, base: false }).parts
  const read = (page: number, into: Buffer) => {
    memory.copy(into, 0, page * pageBytes, (page + 1) * pageBytes)
    return 'data' as const
  }
  const order = { kind: 'physical', reason: 'there is no kernel in it', pages: physicalOrder(pageCount) } as const
  return { memory, parts: { ...parts, order, pages: { read } } }
}

const { memory, parts } = storedGuest()
const zeroPage = Buffer.alloc(pageBytes)
const isZero = (page: number) => memory.subarray(page * pageBytes, (page + 1) * pageBytes).equals(zeroPage)

class Rig {
  readonly client: PageServerClient
  readonly workingSet: { path: string; digest: string; pageCount: number }
  readonly #directory: string
  readonly #written: WrittenCheckpoint
  #count = 0

  private constructor(directory: string, written: WrittenCheckpoint, client: PageServerClient) {
    this.#directory = directory
    this.#written = written
    this.client = client
    this.workingSet = { path: join(directory, 'set'), digest: written.digest, pageCount }
  }

  static async run(work: (rig: Rig) => Promise<void>): Promise<void> {
    await withDirectory(async (directory) => {
      const written = await writeCheckpoint(join(directory, 'memory.ckpt'), parts, { workerCount: 1 })
      const cache = new LruCache({ capacityBytes: 16 * cachedBlockBytes, blockBytes: cachedBlockBytes })
      const server = new PageServer({ socketPath: join(directory, socketName), log: silentLog, cache, idleMs: 1 })
      await server.listen()
      const client = await PageServerClient.connect(join(directory, socketName))
      assert.ok(client !== undefined)
      try {
        await work(new Rig(directory, written, client))
      } finally {
        client.close()
        await server.close()
      }
    })
  }

  async begin(changes: Partial<RestoreRequest>, before?: SimulatedGuest) {
    const socketPath = join(this.#directory, `restore-${this.#count++}.sock`)
    const guest = await SimulatedGuest.listen({ socketPath, checkpoint: parts, memory, ...(before ? { before } : {}) })
    const request: RestoreRequest = {
      ...{
        restoreId: `restore ${this.#count}`,
        vmName: 'test',
        checkpoint: { path: this.#path },
        digest: this.#digest,
      },
      ...{
        qemuSocket: socketPath,
        qemuProcess: own as RestoreRequest['qemuProcess'],
        policy: 'adaptive',
        fill: 'none',
      },
      ...{ workingSetPath: null, storeDelayMs: 0, takeOver: before !== undefined },
      ...changes,
    }
    const over = outcome(this.client, request.restoreId)
    await this.client.serve(request)
    return { guest, restoreId: request.restoreId, over }
  }

  get #path(): string {
    return join(this.#directory, 'memory.ckpt')
  }

  get #digest(): string {
    return this.#written.digest
  }

  async until(restoreId: string, guest: SimulatedGuest, isSo: (stats: RestoreStats) => boolean): Promise<void> {
    while (!isSo(await this.settled(restoreId, guest)));
  }

  /** Figures of a moment at which everything that they count has come to the guest. */
  async settled(restoreId: string, guest: SimulatedGuest): Promise<RestoreStats> {
    for (;;) {
      const stats = (await this.client.list()).find((report) => report.restoreId === restoreId)?.stats
      assert.ok(stats !== undefined)
      if (guest.contentCount === stats.sentPages) return stats
    }
  }
}

/** Walks of a guest, each along pages of which it leaves out some. */
function walksOf(random: (below: number) => number): Set<number> {
  const touched = new Set<number>()
  while (touched.size < pageCount / 3) {
    const [start, length, skips] = [random(pageCount), 5 + random(100), random(3)]
    for (let page = start; page < Math.min(pageCount, start + length); page += 1)
      if (random(4) >= skips) touched.add(page)
  }
  return touched
}

test('the hit ratio is that of all pages sent ahead, but for chance, and every page is counted once', async () => {
  await Rig.run(async (rig) => {
    const every = 6
    let [sampled, used, expectedUsed, variance] = [0, 0, 0, 0]
    for (let round = 0; round < 8; round += 1) {
      const random = randomOf(seed * 100 + round)
      const restore = { restoreId: `${seed} ${round}`, policy: (['adaptive', 'physical'] as const)[round % 2] }
      const {
        guest: live,
        restoreId,
        over,
      } = await rig.begin({ ...restore, sampleEvery: every } as Partial<RestoreRequest>)
      await using guest = live
      const touched = walksOf(random)
      for (const page of touched) await guest.touch(page)
      const stats = await rig.settled(restoreId, guest)
      const asked = stats.demandFaults - stats.zeroFaults
      // What the guest used and did not have to ask for had been sent ahead.
      const usedAhead = [...touched].filter((page) => !isZero(page)).length - asked
      const truth = usedAhead / stats.prefetchedPages
      const count = stats.prefetchSampledPages
      assert.ok(count > 50 && stats.prefetchedPages > 500 && truth > 0.05 && truth < 0.95, JSON.stringify(stats))
      const error = Math.sqrt((truth * (1 - truth)) / count)
      const ratio = hitRatio(stats) ?? Number.NaN
      assert.ok(Math.abs(ratio - truth) <= 4.5 * error, `${restoreId}: ${ratio}, in truth ${truth}`)
      sampled += count
      used += stats.prefetchSampledUsedPages
      expectedUsed += truth * count
      variance += truth * (1 - truth) * count
      await rig.client.hurry(restoreId)
      const { notice, stats: last } = await over
      assert.equal(notice, 'completed')
      await guest.ended
      const romPages = 2
      assert.equal(
        romPages + (last.demandFaults - last.zeroFaults) + last.prefetchedPages + last.filledPages,
        last.neededPages,
      )
      assert.equal(last.sentPages, last.neededPages)
      assert.equal(guest.contentCount, last.neededPages)
      assert.ok(last.prefetchSampledUsedPages <= last.prefetchSampledPages)
      await rig.client.drop(restoreId)
    }
    assert.ok(
      Math.abs(used - expectedUsed) <= 4 * Math.sqrt(variance),
      `${used} of ${sampled}, expected ${expectedUsed}`,
    )
  })
})

test('what is withheld is answered when it is asked for, and comes last otherwise', async () => {
  await Rig.run(async (rig) => {
    // Every page is in the sample: the guest gets nothing but what it asks for, and zeros.
    const [first = 0] = contentFrom(1000, 1, 1)
    const { guest: live, restoreId, over } = await rig.begin({ sampleEvery: 1, policy: 'physical' })
    await using guest = live
    const window = new Set([...contentFrom(first, 1, 16), ...contentFrom(first, -1, 16)])
    await guest.touch(first)
    await rig.until(restoreId, guest, ({ prefetchSampledPages }) => prefetchSampledPages === window.size)
    const [blocksRead, touched] = [(await rig.settled(restoreId, guest)).blocksRead, [...window].slice(3, 13)]
    for (const page of touched) await guest.touch(page)
    const before = await rig.settled(restoreId, guest)
    assert.equal(before.blocksRead, blocksRead, 'on hand')
    assert.deepEqual([before.prefetchedPages, before.demandFaults], [0, 1 + touched.length])
    assert.deepEqual([before.prefetchSampledPages, before.prefetchSampledUsedPages], [window.size, touched.length])
    await rig.client.hurry(restoreId)
    const { notice, stats } = await over
    assert.equal(notice, 'completed')
    await guest.ended
    for (const page of touched) window.delete(page)
    assert.deepEqual(new Set(guest.arrived.slice(-window.size)), window)
    assert.equal(stats.prefetchSampledUsedPages, touched.length)
  })
})

/** So many pages that are not zeros beside one, the nearest first. */
function contentFrom(page: number, step: 1 | -1, count: number): number[] {
  const found: number[] = []
  for (let at = page + step; found.length < count; at += step) if (!isZero(at)) found.push(at)
  return found
}

test('the record for the next restore is the same with a sample and without, and loses nothing', async () => {
  await Rig.run(async (rig) => {
    const known = Array.from({ length: 200 }, (_, index) => 2000 + index)
    const records: number[][] = []
    for (const sampleEvery of [0, 1, 3]) {
      await writeWorkingSetFile(rig.workingSet.path, rig.workingSet.digest, [
        { recordedAt: new Date(), pages: Uint32Array.from(known) },
      ])
      const {
        guest: live,
        restoreId,
        over,
      } = await rig.begin({
        ...{ sampleEvery, policy: 'recorded', workingSetPath: rig.workingSet.path },
      })
      await using guest = live
      const { workingSetPages } = await rig.settled(restoreId, guest)
      assert.equal(workingSetPages, known.length)
      const pushedCount = known.filter((page) => !isZero(page)).length
      const brought = (stats: RestoreStats) => stats.prefetchedPages + stats.prefetchSampledPages
      await rig.until(restoreId, guest, (stats) => brought(stats) === pushedCount)
      // Pages of the record, and one beside which others are brought along.
      for (const page of [...known.slice(50, 60), 500]) await guest.touch(page)
      await rig.client.hurry(restoreId)
      assert.equal((await over).notice, 'completed')
      records.push(await readExpected(rig.workingSet))
    }
    const [without, ...withSample] = records
    for (const record of withSample) assert.deepEqual(record, without)
    assert.equal(without?.[0], 500, 'what is new comes first')
    assert.ok(without.length > known.length + 4, 'and what was brought along with it')
    assert.deepEqual(without?.slice(-known.length), known)
  })
})

test('a restore that is taken over begins another sample, and completes', async () => {
  await Rig.run(async (rig) => {
    const sampling = { restoreId: 'taken over', sampleEvery: 4, policy: 'physical' } as const
    const first = await rig.begin(sampling)
    await using dying = first.guest
    for (let page = 100; page < 400; page += 7) await dying.touch(page)
    const before = await rig.settled(sampling.restoreId, dying)
    assert.ok(before.prefetchSampledPages > 16)
    await rig.client.drop(sampling.restoreId)
    const second = await rig.begin({ ...sampling, fill: 'paced' }, dying)
    await using guest = second.guest
    for (let page = 100; page < 900; page += 7) await guest.touch(page)
    const { notice, stats } = await second.over
    assert.equal(notice, 'completed')
    await guest.ended
    assert.equal(stats.sentPages, guest.contentCount)
    assert.ok(stats.prefetchSampledPages < before.prefetchSampledPages + stats.prefetchedPages)
    for (let page = 0; page < pageCount; page += 1) assert.ok(guest.has(page) || isZero(page), `page ${page} came`)
  })
})
