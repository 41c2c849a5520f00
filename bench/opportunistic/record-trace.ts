/** Has three real guests restored, and records which blocks the page server's cache is used for. */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { cachedBlockBytes } from '../../src/checkpoint/serve/block-cache-size.ts'
import { PageServerClient } from '../../src/checkpoint/serve/client.ts'
import { socketName } from '../../src/checkpoint/serve/protocol.ts'
import { PageServer } from '../../src/checkpoint/serve/server.ts'
import { LruCache } from '../../src/opportunistic/lru-cache.ts'
import { silentLog } from '../../src/shared/log.ts'
import { type HeapPlan, type Moment, prepareMoment } from '../restore/moment.ts'
import { type LazyOptions, RestoredGuest } from '../restore/restore-run.ts'
import { openSite } from '../restore/site.ts'
import type { Trace } from './trace.ts'
import { TracingCache } from './tracing-cache.ts'

const MiB = 1024 * 1024
/** small ones: what counts is the order of blocks, not how many there are */
const memoryBytes = 256 * MiB
const plan: HeapPlan = { heapBytes: 8 * MiB, fieldPages: 2048, scatterPages: 20_000, seed: 1 }
/** for all blocks of both guests */
const cacheBytes = 2 * memoryBytes

export interface RecordTraceOptions {
  signal: AbortSignal
  say(text: string): void
}

/**
 * A guest that was just booted, another one whose heap lies in single pages all over its memory, and the first once more,
 * which is given first what it needed before. Each reads its whole heap, then has the rest fetched.
 */
export async function recordTrace({ signal, say }: RecordTraceOptions): Promise<Trace> {
  await using site = await openSite({ memoryBytes, signal, say })
  const dataDir = join(site.dir, 'server')
  await mkdir(dataDir, { mode: 0o700 })
  const cache = new TracingCache(new LruCache({ capacityBytes: cacheBytes, blockBytes: cachedBlockBytes }))
  const socketPath = join(dataDir, socketName)
  const server = new PageServer({ socketPath, log: silentLog, cache })
  await server.listen()
  const client = await PageServerClient.connect(socketPath)
  if (client === undefined) throw new Error('the page server does not answer')
  const passes: Trace['passes'] = []
  const restore = async (moment: Moment, how: Pick<LazyOptions, 'policy' | 'isRecorded'>) => {
    await using restored = await RestoredGuest.start(site, moment, {
      ...{ way: 'lazy', client, storeDelayMs: 0, fill: 'none', ...how },
    })
    await restored.walk()
    const asked = cache.take()
    await restored.complete()
    return { keys: [...asked, ...cache.take()], fillFrom: asked.length }
  }
  const pass = async (moment: Moment, how: Pick<LazyOptions, 'policy' | 'isRecorded'>) => {
    signal.throwIfAborted()
    const name = `${moment.kind}, ${how.policy}`
    say(`restoring: ${name}`)
    passes.push({ name, ...(await restore(moment, how)) })
  }
  try {
    using fresh = await prepareMoment(site, 'fresh', plan)
    await pass(fresh, { policy: 'adaptive', isRecorded: true })
    using fragmented = await prepareMoment(site, 'fragmented', plan)
    await pass(fragmented, { policy: 'adaptive' })
    await pass(fresh, { policy: 'recorded' })
  } finally {
    client.close()
    await server.close()
  }
  return { source: `three restores of guests of ${memoryBytes / MiB} MiB, recorded in this run`, passes }
}
