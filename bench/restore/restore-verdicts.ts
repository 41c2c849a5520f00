import { quantile, summarizeAll } from '../summary.ts'
import type { Verdict } from '../verdicts.ts'
import type { FillSeries, LoadPoint } from './fill-series.ts'
import type { LazySeries, MeasuredPolicy, RivalSeries } from './lazy-series.ts'
import type { GuestKind } from './moment.ts'
import type { PauseSeries } from './pause-series.ts'
import type { SizeFigure } from './sizes.ts'

/** What was measured, as far as it was. */
export interface RestoreMeasured {
  lazy: readonly LazySeries[]
  rivals: readonly RivalSeries[]
  fill: readonly FillSeries[]
  sizes: readonly SizeFigure[]
  pauses: readonly PauseSeries[]
}

const walkShareTarget = 0.05
const recordedShareTarget = 0.01
const fullRatioTarget = 0.5
const residentRatioTarget = 2
const idleFillTarget = 200e6
const loadFillTarget = 30e6
const waitRatioTarget = 2

export const median = (figures: readonly number[]): number => quantile(figures, 0.5)

/** The promises of docs/spec.md that this measurement says something about. All of them speak of the median. */
export function judgeRestore(measured: RestoreMeasured): Verdict[] {
  return [
    ...judgeWalks(measured.lazy),
    ...judgeAnswers(measured),
    ...measured.fill.flatMap(judgeFill),
    ...measured.sizes.map(({ what, storedBytes, memoryBytes, target }) =>
      atMost(`checkpoint over what is not zeros, ${what}`, (100 * storedBytes) / memoryBytes, 100 * target, '%'),
    ),
    ...measured.pauses.map(judgePause),
  ]
}

const guestsOf = (series: readonly { guest: GuestKind }[]): GuestKind[] => [
  ...new Set(series.map(({ guest }) => guest)),
]

function find(lazy: readonly LazySeries[], guest: GuestKind, policy: MeasuredPolicy, storeDelayMs?: number) {
  return lazy.filter(
    (series) =>
      series.guest === guest &&
      series.policy === policy &&
      (storeDelayMs === undefined || series.storeDelayMs === storeDelayMs),
  )
}

export const walkFaults = ({ samples }: LazySeries): number => median(samples.map((sample) => sample.walkFaults))

/** Demand faults of a policy's walk over those of another one with the same store, the worst of all stores. */
export function worstShare(
  lazy: readonly LazySeries[],
  guest: GuestKind,
  policy: MeasuredPolicy,
  over: MeasuredPolicy,
): number | undefined {
  const shares = find(lazy, guest, policy).flatMap((series) => {
    const [other] = find(lazy, guest, over, series.storeDelayMs)
    return other === undefined ? [] : [walkFaults(series) / walkFaults(other)]
  })
  return shares.length === 0 ? undefined : Math.max(...shares)
}

function judgeWalks(lazy: readonly LazySeries[]): Verdict[] {
  const guests = guestsOf(lazy)
  const [policy] = (['virtual', 'adaptive'] as const)
    .map((candidate) => {
      const shares = guests.map((guest) => worstShare(lazy, guest, candidate, 'none') ?? Number.POSITIVE_INFINITY)
      return { candidate, worst: Math.max(...shares) }
    })
    .sort((one, other) => one.worst - other.worst)
    .map(({ candidate }) => candidate)
  const judge = (guest: GuestKind, judged: MeasuredPolicy, over: MeasuredPolicy, target: number): Verdict[] => {
    const share = worstShare(lazy, guest, judged, over)
    const promise = `demand faults of the heap walk, ${judged} over ${over}, ${guest} guest, the worst of all stores`
    return share === undefined ? [] : [atMost(promise, 100 * share, 100 * target, '%', 2)]
  }
  return guests.flatMap((guest) => [
    ...(policy === undefined ? [] : judge(guest, policy, 'none', walkShareTarget)),
    ...(policy === undefined ? [] : judge(guest, policy, 'physical', 1)),
    ...judge(guest, 'recorded', 'none', recordedShareTarget),
  ])
}

/** From the moment a QEMU waits: starting one takes the same in all ways, and is done ahead where it matters. */
function judgeAnswers({ lazy, rivals }: RestoreMeasured): Verdict[] {
  return guestsOf(rivals).flatMap((guest) => {
    const of = (samples: readonly Record<string, number>[] | undefined) =>
      summarizeAll(samples ?? []).loadedMs?.p50 ?? Number.NaN
    const rival = (way: RivalSeries['way']) =>
      of(rivals.find((series) => series.guest === guest && series.way === way)?.samples)
    const judge = (policy: MeasuredPolicy, way: RivalSeries['way'], target: number) => {
      const [series] = find(lazy, guest, policy, 0)
      const promise = `first answer of the agent, ${policy} over ${way}, ${guest} guest`
      return series === undefined ? [] : [atMost(promise, of(series.samples) / rival(way), target, '×', 2)]
    }
    return [...judge('adaptive', 'full', fullRatioTarget), ...judge('recorded', 'resident', residentRatioTarget)]
  })
}

function judgeFill({ guest, idleBytesPerSecond, curve }: FillSeries): Verdict[] {
  const verdicts = [
    atLeast(
      `fill while nobody waits, ${guest} guest`,
      median(idleBytesPerSecond) / 1e6,
      idleFillTarget / 1e6,
      'MB/s of guest memory',
    ),
  ]
  const [continuous] = curve.filter(({ gapUs }) => gapUs === 0)
  if (continuous === undefined) return verdicts
  const who = `under a continuous load of faults, ${guest} guest`
  return [
    ...verdicts,
    atMost(`wait for a page over its idle value, ${who}`, waitRatio(continuous), waitRatioTarget, '×', 2),
    atLeast(`fill ${who}`, fillRate(continuous) / 1e6, loadFillTarget / 1e6, 'MB/s of guest memory'),
  ]
}

/** Of the medians that a guest saw, beside the fill over without it; the median of the runs. */
export const waitRatio = ({ samples }: LoadPoint): number =>
  median(samples.map(({ waitUs, idleWaitUs }) => waitUs.p50 / idleWaitUs.p50))

export const fillRate = ({ samples }: LoadPoint): number =>
  median(samples.map(({ fillBytesPerSecond }) => fillBytesPerSecond))

function judgePause({ way, snapshotMs, forkMs }: PauseSeries): Verdict {
  const how = way === 'copy' ? 'memory copied' : 'memory in the background'
  return atMost(
    `pause for a snapshot over that for a live fork, ${how}`,
    median(snapshotMs) / median(forkMs),
    1,
    '×',
    2,
  )
}

function atMost(promise: string, figure: number, target: number, unit: string, digits = 1): Verdict {
  const show = (value: number) => `${value.toFixed(digits)} ${unit}`
  return { promise: `${promise}, p50`, target: `≤ ${show(target)}`, measured: show(figure), met: figure <= target }
}

function atLeast(promise: string, figure: number, target: number, unit: string): Verdict {
  const show = (value: number) => `${value.toFixed(0)} ${unit}`
  return { promise: `${promise}, p50`, target: `≥ ${show(target)}`, measured: show(figure), met: figure >= target }
}
