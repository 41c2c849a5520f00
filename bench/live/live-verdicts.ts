import { formatBytes } from '../../src/shared/limits.ts'
import { quantile, type Summary, summarize, summarizeAll } from '../summary.ts'
import type { Verdict } from '../verdicts.ts'
import type { DiskSeries } from './disk-series.ts'
import { crossOver, fitLine, type Line } from './fit.ts'
import type { GenerationCurve } from './generations.ts'
import type { LiveCrowd } from './live-crowd.ts'
import type { MemorySeries } from './memory-series.ts'
import { GiB, MiB } from './tools.ts'

/** What was measured, as far as it was. */
export interface LiveMeasured {
  memory: readonly MemorySeries[]
  disks: readonly DiskSeries[]
  generations: readonly GenerationCurve[]
  crowds: readonly LiveCrowd[]
}

const partTargetMs = 15
const copyBytesPerMs = GiB / 1000
const backgroundMsPerGiB = 35
const freezeOverPauseMs = 15
const depthTarget = 2
const readRatioTarget = 1.1
const forkRatioTarget = 1.2

/** The promises of docs/spec.md that this measurement says something about. All of them speak of the median. */
export function judgeLive({ memory, disks, generations, crowds }: LiveMeasured): Verdict[] {
  return [
    ...memory.map(judgeMemory),
    ...disks.flatMap(judgeDisks),
    ...judgeFreeze([...memory, ...disks]),
    ...generations.flatMap(judgeGenerations),
    ...crowds.flatMap(judgeCrowd),
  ]
}

/**
 * Memory's part of the pause. A daemon that does not tell it apart is judged by the whole pause: there is no
 * disk here, so that the part is less.
 */
export function memoryPause({ samples }: MemorySeries): Summary {
  const { pauseMemoryMs, pauseMs } = summarizeAll(samples)
  return pauseMemoryMs ?? pauseMs ?? summarize([])
}

export const median = (figures: readonly number[]): number => quantile(figures, 0.5)

/** What memory's part of the pause may be, milliseconds. */
export function memoryTargetMs({ way, deltaBytes, memoryBytes }: MemorySeries): number {
  if (way === 'copy') return partTargetMs + median(deltaBytes) / copyBytesPerMs
  return partTargetMs + (memoryBytes / GiB) * backgroundMsPerGiB
}

function judgeMemory(series: MemorySeries): Verdict {
  const { way, isWriting, askedBytes, memoryBytes } = series
  const how =
    way === 'copy'
      ? `copied, delta of ${formatBytes(askedBytes)}`
      : `in the background, delta of ${formatBytes(askedBytes)}`
  const guest = `guest of ${formatBytes(memoryBytes)} ${isWriting ? 'writing' : 'at rest'}`
  return atMost(
    `memory's part of the pause, ${how}, ${guest}, p50`,
    memoryPause(series).p50,
    memoryTargetMs(series),
    'ms',
  )
}

function judgeDisks({ fileSystem, askedBytes, samples }: DiskSeries): Verdict[] {
  const pause = summarizeAll(samples).pauseDiskMs
  if (pause === undefined) return []
  return [
    atMost(
      `disks' part of the pause, delta of ${formatBytes(askedBytes)} on ${fileSystem}, p50`,
      pause.p50,
      partTargetMs,
      'ms',
    ),
  ]
}

/** The worst of all series. */
function judgeFreeze(all: readonly { samples: Record<string, number>[] }[]): Verdict[] {
  const over = all.flatMap(({ samples }) => {
    const { freezeMs, pauseMs } = summarizeAll(samples)
    return freezeMs === undefined || pauseMs === undefined ? [] : [freezeMs.p50 - pauseMs.p50]
  })
  if (over.length === 0) return []
  return [
    atMost(`freeze over pause, p50, the worst of ${over.length} series`, Math.max(...over), freezeOverPauseMs, 'ms'),
  ]
}

function judgeGenerations({ workingSet, generations, reads }: GenerationCurve): Verdict[] {
  const last = generations.at(-1)?.number ?? 0
  const depth = Math.max(...generations.map((generation) => generation.depth))
  const who = `${last} generations, ${workingSet} working set`
  const verdicts = [
    atMost(`deepest disk at rest over ${who}`, depth, depthTarget, 'files', 0),
    atMost(
      `4 KiB random reads at generation ${last} over generation 1, ${workingSet} working set`,
      reads.lastRatio,
      readRatioTarget,
      '×',
      2,
    ),
    {
      promise: `a naive chain with the same writes holds the same as generation ${last}, ${workingSet} working set`,
      target: 'the same',
      measured: reads.isSameData ? 'the same' : 'DIFFERENT',
      met: reads.isSameData,
    },
  ]
  const forks = forkRatio(generations)
  if (workingSet === 'constant' && forks !== undefined)
    verdicts.push(atMost('forks of generations 41-50 over 2-11, constant working set', forks, forkRatioTarget, '×', 2))
  return verdicts
}

/** Time of a fork as its caller sees it, generations 41-50 over 2-11. @returns undefined when there are not so many */
export function forkRatio(generations: GenerationCurve['generations']): number | undefined {
  const between = (first: number, last: number) =>
    generations.filter(({ number }) => number >= first && number <= last).map(({ timings }) => timings.answeredMs ?? 0)
  const late = between(41, 50)
  return late.length < 10 ? undefined : median(late) / median(between(2, 11))
}

function judgeCrowd({ asked, writing, atRest }: LiveCrowd): Verdict[] {
  const made = Math.min(writing.made, atRest.made)
  const verdicts = [
    {
      promise: 'children of a running parent by one request',
      target: `${asked}`,
      measured: `${made}`,
      met: made === asked,
    },
  ]
  const { nonZeroBytes, idleChildBytes, addedBytes } = atRest.memory
  if (nonZeroBytes !== undefined) {
    const targetBytes = nonZeroBytes + asked * idleChildBytes
    verdicts.push(atMost(`memory that ${asked} children of it add`, addedBytes / MiB, targetBytes / MiB, 'MiB'))
  }
  return verdicts
}

function atMost(promise: string, figure: number, target: number, unit: string, digits = 1): Verdict {
  const show = (value: number) => `${value.toFixed(digits)} ${unit}`
  return { promise, target: `≤ ${show(target)}`, measured: show(figure), met: figure <= target }
}

/** From which delta on the background pauses less than the copy. */
export interface CrossOver {
  memoryBytes: number
  backgroundMs: number
  /** 0: it always does · Infinity: it never does */
  deltaBytes: number
}

export interface CrossOvers {
  /** pause over delta in bytes */
  copy: Line
  at: CrossOver[]
}

/**
 * The copy's pause grows with the delta, the background's with the guest's memory: fitted from medians, of a
 * guest that writes where there are such.
 */
export function crossOversOf(memory: readonly MemorySeries[]): CrossOvers | undefined {
  const of = (way: MemorySeries['way'], isWriting: boolean) =>
    memory.filter((series) => series.way === way && series.isWriting === isWriting)
  const copies = of('copy', true).length > 1 ? of('copy', true) : of('copy', false)
  const copy = fitLine(copies.map((series) => ({ x: median(series.deltaBytes), y: memoryPause(series).p50 })))
  const background = of('background', true)
  if (copy === undefined || background.length === 0) return undefined
  const sizes = [...new Set(background.map(({ memoryBytes }) => memoryBytes))]
  const at = sizes.map((memoryBytes) => {
    const pauses = background
      .filter((series) => series.memoryBytes === memoryBytes)
      .map((series) => memoryPause(series).p50)
    const backgroundMs = median(pauses)
    return { memoryBytes, backgroundMs, deltaBytes: crossOver(copy, backgroundMs) }
  })
  return { copy, at }
}
