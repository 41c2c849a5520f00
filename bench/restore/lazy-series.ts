import type { PageServerClient } from '../../src/checkpoint/serve/client.ts'
import type { PolicyName } from '../../src/checkpoint/serve/protocol.ts'
import type { RestoreStats } from '../../src/checkpoint/serve/stats-schema.ts'
import type { GuestKind, Moment } from './moment.ts'
import { type LazyOptions, RestoredGuest, type RestoreWay, type RunTimings } from './restore-run.ts'
import type { Site } from './site.ts'

export const measuredPolicies = ['none', 'physical', 'virtual', 'adaptive', 'recorded'] as const satisfies PolicyName[]
export type MeasuredPolicy = (typeof measuredPolicies)[number]

/** What one phase of a restore cost. */
export interface PhaseCost {
  /** that the guest waited for, pages of zeros among them */
  faults: number
  zeroFaults: number
  /** pages with content that were sent, for whatever reason */
  pages: number
  stallMs: number
  prefetch: Pick<LazySample, 'demandPages' | 'prefetchedPages' | 'sampledPages' | 'sampledUsedPages'>
}

/** Restores of one moment by one policy from a store of one delay. Nothing is filled in beside. */
export interface LazySeries {
  guest: GuestKind
  policy: MeasuredPolicy
  storeDelayMs: number
  samples: LazySample[]
}

export interface LazySample extends RunTimings {
  walkMs: number
  /** each from the beginning to its mark, but for the walk, which counts from the first command on */
  answeredFaults: number
  execFaults: number
  walkFaults: number
  walkZeroFaults: number
  walkPages: number
  /** until the end of the walk, as all that follow */
  pages: number
  /** with content: waited for, and sent ahead */
  demandPages: number
  prefetchedPages: number
  /** would have been sent ahead, and were withheld; of these, asked for */
  sampledPages: number
  sampledUsedPages: number
  /** of them, sent at once since an earlier restore had needed them */
  workingSetPages: number
  stallMs: number
}

/** Restores by other ways than Ramet's. */
export interface RivalSeries {
  guest: GuestKind
  way: 'full' | 'resident'
  samples: (RunTimings & { walkMs: number })[]
}

export async function restoreLazily(
  site: Site,
  client: PageServerClient,
  moment: Moment,
  { policy, storeDelayMs, sampleEvery }: Pick<LazySeries, 'policy' | 'storeDelayMs'> & Pick<LazyOptions, 'sampleEvery'>,
): Promise<LazySample> {
  await using restored = await RestoredGuest.start(site, moment, {
    ...{ way: 'lazy', client, policy, storeDelayMs, sampleEvery },
    fill: 'none',
  })
  const walkMs = await restored.walk()
  const stats = await restored.stats()
  if (stats === undefined) throw new Error('a lazy restore without figures')
  const answered = costUntil(stats, 'answered')
  const exec = costUntil(stats, 'exec')
  const walked = costUntil(stats, 'walked')
  return {
    ...restored.timings,
    walkMs,
    answeredFaults: answered.faults,
    execFaults: exec.faults,
    walkFaults: walked.faults - exec.faults,
    walkZeroFaults: walked.zeroFaults - exec.zeroFaults,
    walkPages: walked.pages - exec.pages,
    pages: walked.pages,
    ...walked.prefetch,
    workingSetPages: stats.workingSetPages,
    stallMs: walked.stallMs,
  }
}

/** Restores once as a user would, the first time, and lets it come to its end: what it needed is the next ones' working set. */
export async function recordWorkingSet(site: Site, client: PageServerClient, moment: Moment): Promise<void> {
  await using restored = await RestoredGuest.start(site, moment, {
    ...{ way: 'lazy', client, policy: 'adaptive', storeDelayMs: 0 },
    ...{ fill: 'none', isRecorded: true },
  })
  await restored.walk()
  await restored.complete()
}

export async function restoreOtherwise(
  site: Site,
  moment: Moment,
  way: Exclude<RestoreWay['way'], 'lazy'>,
): Promise<RivalSeries['samples'][number]> {
  await using restored = await RestoredGuest.start(site, moment, { way })
  return { ...restored.timings, walkMs: await restored.walk() }
}

function costUntil({ marks }: RestoreStats, name: string): PhaseCost {
  const mark = marks.find((candidate) => candidate.name === name)
  if (mark === undefined) throw new Error(`a restore without the mark ${name}`)
  const { demandFaults, zeroFaults, sentPages, stallMs, prefetchedPages } = mark
  const prefetch = {
    ...{ demandPages: demandFaults - zeroFaults, prefetchedPages },
    ...{ sampledPages: mark.prefetchSampledPages, sampledUsedPages: mark.prefetchSampledUsedPages },
  }
  return { faults: demandFaults, zeroFaults, pages: sentPages, stallMs: stallMs.total, prefetch }
}
