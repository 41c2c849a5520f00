import type { RestoreFigures, RestoreReport } from '../../api/restore.ts'
import { hitRatio } from '../../checkpoint/serve/prefetch-sample.ts'
import type { Counters, RestoreStats, StallFigures } from '../../checkpoint/serve/stats-schema.ts'
import type { RestoreRecord } from '../records.ts'

/** What others may know of a restore. */
export function publicReport({ checkpoint: _, rescue: __, ...report }: RestoreRecord): RestoreReport {
  return report
}

/** Moments of a restore that the page server is told of. */
export const marks = { ready: 'ready', firstExec: 'first-exec' } as const

type Counted = Counters & { stallMs: StallFigures }

function figuresOf(counted: Counted, elapsedMs: number, neededPages: number): RestoreFigures {
  const { stallMs } = counted
  const ratio = hitRatio(counted)
  return {
    elapsedMs,
    demandFaults: counted.demandFaults - counted.zeroFaults,
    zeroFaults: counted.zeroFaults,
    prefetchedPages: counted.prefetchedPages,
    prefetchSampledPages: counted.prefetchSampledPages,
    prefetchSampledUsedPages: counted.prefetchSampledUsedPages,
    ...(ratio === undefined
      ? {}
      : { prefetchHitRatio: ratio, prefetchedUsedPages: Math.round(ratio * counted.prefetchedPages) }),
    sentPages: counted.sentPages,
    neededPages,
    sentBytes: counted.sentBytes,
    readBytes: counted.blockBytesRead,
    blocksRead: counted.blocksRead,
    blockHits: counted.blockHits,
    stallMs: stallMs.total,
    stallP50Ms: stallMs.p50,
    stallP99Ms: stallMs.p99,
  }
}

/** What has been counted of a restore, as the API shows it: now, and at the moments that were marked. */
export function figuresFrom(stats: RestoreStats): {
  now: RestoreFigures
  atReady?: RestoreFigures
  atFirstExec?: RestoreFigures
} {
  const at = (name: string) => {
    const mark = stats.marks.find((candidate) => candidate.name === name)
    return mark === undefined ? undefined : figuresOf(mark, mark.atMs, stats.neededPages)
  }
  const [atReady, atFirstExec] = [at(marks.ready), at(marks.firstExec)]
  return {
    now: figuresOf(stats, stats.elapsedMs, stats.neededPages),
    ...(atReady === undefined ? {} : { atReady }),
    ...(atFirstExec === undefined ? {} : { atFirstExec }),
  }
}
