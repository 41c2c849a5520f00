/** What a hit costs beside a plain copy of as many bytes. */
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { CacheKind } from '../../src/opportunistic/cache.ts'
import { quantile } from '../summary.ts'

export interface HitSeries {
  kind: CacheKind
  setBytes: number
  blockBytes: number
  rounds: number
}

/** Nanoseconds of one read. */
export interface HitTimes {
  /** from a known place */
  copy: number[]
  /** from a place that a key leads to, as in any cache, with nothing checked */
  indexed: number[]
  /** from the cache */
  hit: number[]
}

export interface HitCost extends HitSeries {
  /** what a quarter of the rounds stayed below, since other work of the machine only adds */
  readNs: Record<keyof HitTimes, number>
  /** a hit's over that of `copy`, and of `indexed` */
  overCopy: number
  overIndexed: number
}

/** In a thread of its own, so that what is compiled there has met one kind of cache, as in a daemon. */
export async function measureHits(series: HitSeries): Promise<HitCost> {
  const thread = new Worker(new URL('./hit-worker.ts', import.meta.url), { workerData: series })
  const exited = once(thread, 'exit')
  const [times] = (await once(thread, 'message')) as [HitTimes]
  await exited
  const readNs = {
    copy: quantile(times.copy, 0.25),
    indexed: quantile(times.indexed, 0.25),
    hit: quantile(times.hit, 0.25),
  }
  return { ...series, readNs, overCopy: readNs.hit / readNs.copy, overIndexed: readNs.hit / readNs.indexed }
}
