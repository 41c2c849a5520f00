import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { PageServerClient } from '../../src/checkpoint/serve/client.ts'
import { ensurePageServer } from '../../src/checkpoint/serve/ensure.ts'
import { type MachineFacts, machineFacts } from '../machine-facts.ts'
import { type Summary, summarizeAll } from '../summary.ts'
import type { Verdict } from '../verdicts.ts'
import { type FillSeries, measureFill } from './fill-series.ts'
import {
  type LazySeries,
  type MeasuredPolicy,
  type RivalSeries,
  recordWorkingSet,
  restoreLazily,
  restoreOtherwise,
} from './lazy-series.ts'
import { type GuestKind, type HeapPlan, type Moment, prepareMoment } from './moment.ts'
import { measurePauses, type PauseSeries } from './pause-series.ts'
import { judgeRestore } from './restore-verdicts.ts'
import { openSite, type Site } from './site.ts'
import { type SizeFigure, sizeOf, sizeOfRandom } from './sizes.ts'

export interface RestoreBenchOptions {
  guests: GuestKind[]
  policies: MeasuredPolicy[]
  /** of the store, milliseconds a read */
  storeDelaysMs: number[]
  /** restores of each kind */
  runs: number
  /** of the fill, and of each load beside it; 0 for none */
  fillRuns: number
  /** of snapshots and live forks, whose pauses are compared; 0 for none */
  pauseRuns: number
  memoryBytes: number
  heapBytes: number
  seed: number
  /** one in so many prefetched pages is withheld; 0: none; by size when left out */
  sampleEvery?: number
  /** where to put guests and checkpoints; the system's directory for temporary files when left out */
  dir?: string
  signal: AbortSignal
  /** progress, a line each */
  say(text: string): void
}

export interface GuestFacts {
  guest: GuestKind
  heapBytes: number
  /** of the adjacent pages of the process with the heap, the field's among them, those at most 16 frames apart, 0 to 1 */
  nearShare: number
  pages: number
  zeroPages: number
  checkpointBytes: number
  /** whether the checkpoint is in guest-virtual order, and why */
  order: { kind: string; reason: string }
}

export interface RestoreReport {
  benchmark: 'restore'
  machine: MachineFacts
  runs: number
  seed: number
  guests: GuestFacts[]
  lazy: (LazySeries & { summary: Record<string, Summary> })[]
  rivals: (RivalSeries & { summary: Record<string, Summary> })[]
  fill: FillSeries[]
  sizes: SizeFigure[]
  pauses: PauseSeries[]
  verdicts: Verdict[]
}

/** pages beside the heap, which the loads of the fill touch */
const fieldPages = 24_576
/** as in the recipe of docs/spec.md */
const scatterPages = 60_000
/** Measures restores by a page server of its own that is gone afterwards. */
export async function benchRestore(options: RestoreBenchOptions): Promise<RestoreReport> {
  const { signal, say, guests: kinds, runs, seed } = options
  await using site = await openSite(options)
  const machine = await machineFacts(site.machine.accelerator)
  const dataDir = join(site.dir, 'server')
  await mkdir(dataDir, { mode: 0o700 })
  say('starting a page server')
  const client = await ensurePageServer({ dataDir, signal })
  const found = { guests: [] as GuestFacts[], lazy: [] as LazySeries[], rivals: [] as RivalSeries[] }
  const fill: FillSeries[] = []
  const sizes: SizeFigure[] = []
  try {
    for (const kind of kinds) {
      using moment = await prepareMoment(site, kind, planOf(options))
      const { lazy, rivals } = await measureMoment(site, client, moment, options)
      found.lazy.push(...lazy)
      found.rivals.push(...rivals)
      found.guests.push(factsOf(moment))
      if (options.fillRuns > 0) fill.push(await measureFill(site, client, moment, options.fillRuns))
      sizes.push(sizeOf(moment))
      if (kind === kinds.at(-1)) sizes.push(await sizeOfRandom(site, moment))
    }
  } finally {
    say('cleaning up')
    await endServer(client)
  }
  const pauses = await measurePauses({ ...options, runs: options.pauseRuns })
  const summed = <T extends { samples: object[] }>(series: T) => ({
    ...series,
    summary: summarizeAll(series.samples as Record<string, number>[]),
  })
  return {
    ...{ benchmark: 'restore' as const, machine, runs, seed, guests: found.guests },
    ...{ lazy: found.lazy.map(summed), rivals: found.rivals.map(summed), fill, sizes, pauses },
    verdicts: judgeRestore({ ...found, fill, sizes, pauses }),
  }
}

const planOf = ({ heapBytes, seed }: RestoreBenchOptions): HeapPlan => ({ heapBytes, seed, fieldPages, scatterPages })

function factsOf({ kind, heapBytes, nearShare, checkpoint }: Moment): GuestFacts {
  const { counts, fileBytes, order } = checkpoint
  return {
    ...{ guest: kind, heapBytes, nearShare, pages: counts.pages, zeroPages: counts.zero },
    ...{ checkpointBytes: fileBytes, order },
  }
}

/** One of each in turn, so that whatever else the machine does meets all alike. */
async function measureMoment(site: Site, client: PageServerClient, moment: Moment, options: RestoreBenchOptions) {
  const { runs, say, signal } = options
  const guest = moment.kind
  const lazy: LazySeries[] = options.storeDelaysMs.flatMap((storeDelayMs) =>
    options.policies.map((policy) => ({ guest, policy, storeDelayMs, samples: [] })),
  )
  const rivals: RivalSeries[] = (['full', 'resident'] as const).map((way) => ({ guest, way, samples: [] }))
  if (options.policies.includes('recorded')) await recordWorkingSet(site, client, moment)
  for (let run = 0; run < runs; run += 1) {
    say(`${guest}: run ${run + 1} of ${runs}`)
    for (const series of rivals) series.samples.push(await restoreOtherwise(site, moment, series.way))
    for (const series of lazy) {
      signal.throwIfAborted()
      const sample = await restoreLazily(site, client, moment, { ...series, sampleEvery: options.sampleEvery })
      series.samples.push(sample)
      const { answeredFaults, walkFaults, answeredMs, walkMs } = sample
      say(
        `${guest}, ${series.policy}, ${series.storeDelayMs} ms: ${answeredFaults} faults until the answer (${answeredMs.toFixed(0)} ms), ` +
          `${walkFaults} in the walk (${walkMs.toFixed(0)} ms)`,
      )
    }
  }
  return { lazy, rivals }
}

/** It has nothing to do any more, and need not wait until it believes so. */
async function endServer(client: PageServerClient): Promise<void> {
  const { pid } = client
  const closed = client.closed
  process.kill(pid, 'SIGTERM')
  await closed
  client.close()
}
