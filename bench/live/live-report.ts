import { textTable } from '../../src/cli/text-table.ts'
import { formatBytes } from '../../src/shared/limits.ts'
import { machineLine, stageTable, verdictTable } from '../report.ts'
import type { Summary } from '../summary.ts'
import { quantile } from '../summary.ts'
import type { Generation, GenerationCurve } from './generations.ts'
import type { LiveReport } from './live-bench.ts'
import type { CrowdFork, CrowdMemory, LiveCrowd } from './live-crowd.ts'
import { forkRatio, median, memoryPause } from './live-verdicts.ts'
import { MiB } from './tools.ts'

const ms = (value: number | undefined) => (value === undefined || Number.isNaN(value) ? '-' : value.toFixed(1))
const whole = (value: number) => value.toFixed(0)
const bytes = (value: number) => formatBytes(Math.round(value))
const spread = (summary: Summary | undefined) =>
  summary === undefined ? '-' : [summary.p50, summary.p90, summary.p99].map(whole).join(' / ')

/** The report for people. */
export function showLiveReport(report: LiveReport): string {
  const parts = [machineLine(report.machine), stageTable('The floor: stock QEMU, nothing else', report.floor.summary)]
  if (report.memory.length > 0) parts.push(pauseTable(report), weightTable(report), ...crossOverLines(report))
  if (report.disks.length > 0) parts.push(diskTable(report))
  for (const curve of report.generations) parts.push(generationTable(curve), readsLine(curve))
  for (const crowd of report.crowds) parts.push(crowdLines(crowd))
  parts.push(...report.leftOut.map((reason) => `left out: ${reason}`), verdictTable(report.verdicts))
  return parts.join('\n\n')
}

function pauseTable({ memory, runs }: LiveReport): string {
  const rows = memory.map((series) => [
    series.way,
    series.isWriting ? 'writing' : 'at rest',
    bytes(series.askedBytes),
    bytes(median(series.deltaBytes)),
    bytes(series.memoryBytes),
    spread(memoryPause(series)),
    spread(series.summary.pauseMs),
    spread(series.summary.freezeMs),
    spread(series.summary.answeredMs),
    spread(series.summary.streamMs),
    String(series.samples.length),
  ])
  const fewer = memory.some(({ samples }) => samples.length < runs) ? '; fewer runs of the huge ones' : ''
  return (
    `Forks of a running vm without disks: p50 / p90 / p99, milliseconds${fewer}\n` +
    textTable(
      ['WAY', 'GUEST', 'WRITTEN', 'DELTA', 'GUEST RAM', 'PAUSE, MEMORY', 'PAUSE', 'FREEZE', 'READY', 'STREAM', 'RUNS'],
      rows,
    )
  )
}

/** How a fork weighs on a parent that counts. */
function weightTable({ memory }: LiveReport): string {
  const rows = memory
    .filter(({ slowdowns }) => slowdowns.length > 0)
    .map(({ way, askedBytes, slowdowns }) => {
      const p50 = (of: (slowdown: (typeof slowdowns)[number]) => number) => median(slowdowns.map(of))
      const part = (rate: number) => `${whole((rate / p50((slowdown) => slowdown.beforeRate)) * 100)} %`
      return [
        way,
        bytes(askedBytes),
        whole(p50((slowdown) => slowdown.beforeRate)),
        part(p50((slowdown) => slowdown.duringRate)),
        part(p50((slowdown) => slowdown.afterRate)),
        whole(p50((slowdown) => slowdown.slowedMs)),
        whole(p50((slowdown) => slowdown.lostMs)),
      ]
    })
  return (
    'The parent, writing page after page: pages per second before, during and after a fork; medians\n' +
    textTable(['WAY', 'WRITTEN', 'BEFORE', 'DURING', 'AFTER', 'SLOWED FOR MS', 'LOST MS'], rows)
  )
}

function crossOverLines({ crossOvers }: LiveReport): string[] {
  if (crossOvers === undefined) return []
  const { copy, at } = crossOvers
  const perGiB = copy.slope * 1024 ** 3
  return [
    [
      `Copied, memory pauses a guest for ${ms(copy.atZero)} ms + ${ms(perGiB)} ms per GiB of delta. The background pauses less from:`,
      ...at.map(({ memoryBytes, backgroundMs, deltaBytes }) => {
        const from =
          deltaBytes === 0 ? 'any delta' : Number.isFinite(deltaBytes) ? `a delta of ${bytes(deltaBytes)}` : 'no delta'
        return `  ${from}, in a guest of ${bytes(memoryBytes)} (${ms(backgroundMs)} ms)`
      }),
    ].join('\n'),
  ]
}

function diskTable({ disks }: LiveReport): string {
  const rows = disks.map((series) => [
    series.fileSystem,
    series.hasReflink ? 'yes' : 'no',
    bytes(series.askedBytes),
    bytes(median(series.deltaBytes)),
    spread(series.summary.pauseDiskMs),
    spread(series.summary.pauseMs),
    spread(series.summary.freezeMs),
    spread(series.summary.diskMs),
    spread(series.summary.answeredMs),
    spread(series.summary.restMs),
    String(series.samples.length),
  ])
  return (
    'Forks of a running vm with one disk: p50 / p90 / p99, milliseconds\n' +
    textTable(
      [
        'FILE SYSTEM',
        'REFLINK',
        'WRITTEN',
        'DELTA',
        'PAUSE, DISKS',
        'PAUSE',
        'FREEZE',
        'DISK OF CHILD',
        'READY',
        'THEN AT REST',
        'RUNS',
      ],
      rows,
    )
  )
}

/** Ten generations a row: 2 to 11 and 41 to 50 are what is held against each other. The first comes from a template. */
function generationTable({ workingSet, generations }: GenerationCurve): string {
  const rowOf = ({ number }: Generation) => (number <= 11 ? 2 : Math.ceil(number / 10) * 10 - 9)
  const rows = [...Map.groupBy(generations.slice(1), rowOf).values()].map((some) => {
    const last = some.at(-1)
    const p50 = (stage: string) => ms(median(some.flatMap(({ timings }) => timings[stage] ?? [])))
    return [
      `${some[0]?.number}-${last?.number}`,
      bytes(last?.filledBytes ?? 0),
      bytes(last?.privateBytes ?? 0),
      bytes(last?.diskBytes ?? 0),
      String(Math.max(...some.map(({ depth }) => depth))),
      ...['pauseMs', 'diskMs', 'loadMs', 'readyMs', 'answeredMs'].map(p50),
      ms(median(some.map(({ restMs }) => restMs))),
    ]
  })
  return (
    `Fork of a fork, ${workingSet} working set: p50, milliseconds\n` +
    textTable(
      [
        'GENERATIONS',
        'REWRITTEN',
        'MEMORY',
        'DISK',
        'DEPTH',
        'PAUSE',
        'DISK OF CHILD',
        'LOAD',
        'READY',
        'ANSWERED',
        'THEN AT REST',
      ],
      rows,
    )
  )
}

function readsLine({ workingSet, generations, reads }: GenerationCurve): string {
  const us = (value: number) => `${value.toFixed(1)} µs`
  const ratio = forkRatio(generations)
  return (
    `4 KiB random reads, ${workingSet} working set, medians of ${reads.roundCount} rounds of ${reads.readCount}: generation 1 ${us(reads.firstUs)}, ` +
    `generation ${generations.length} ${us(reads.lastUs)} (${reads.lastRatio.toFixed(2)} ×), ` +
    `naive chain of ${reads.naiveDepth} files ${us(reads.naiveUs)} (${reads.naiveRatio.toFixed(2)} ×)` +
    (ratio === undefined ? '' : `; forks of generations 41-50 over 2-11: ${ratio.toFixed(2)} ×`)
  )
}

function crowdLines({ asked, deltaBytes, writing, atRest }: LiveCrowd): string {
  const { slowdown } = writing
  const part = (rate: number) => `${whole((rate / slowdown.beforeRate) * 100)} %`
  return [
    `${asked} children of a running parent with a delta of ${bytes(deltaBytes)}, by one request`,
    ...callLines('writing', asked, writing),
    `    it wrote ${whole(slowdown.beforeRate)} pages per second before, ${part(slowdown.duringRate)} of it during, ${part(slowdown.afterRate)} after; slowed for ${whole(slowdown.slowedMs)} ms, lost ${whole(slowdown.lostMs)} ms`,
    ...callLines('at rest', asked, atRest),
    ...memoryLines(asked, atRest.memory),
  ].join('\n')
}

function callLines(
  parent: string,
  asked: number,
  { made, failures, wallMs, childTimings, timings, capture }: CrowdFork,
): string[] {
  const readies = childTimings.flatMap(({ readyMs }) => readyMs ?? [])
  return [
    `  parent ${parent}: ${made} of ${asked} after ${whole(wallMs)} ms, ${whole(wallMs / asked)} ms per child; the first ready after ${whole(Math.min(...readies))} ms, half of them after ${whole(quantile(readies, 0.5))} ms; it paused ${ms(timings.pauseMs)} ms, froze ${ms(timings.freezeMs)} ms${captureWords(capture)}`,
    ...failures.map((failure) => `    ${failure}`),
  ]
}

function captureWords({ way, memory }: Record<string, unknown>): string {
  return way === undefined ? '' : `; captured by ${way}, ${memory}`
}

function memoryLines(asked: number, memory: CrowdMemory): string[] {
  const { nonZeroBytes, idleChildBytes } = memory
  const allowed =
    nonZeroBytes === undefined
      ? ' (the parent may not be looked into)'
      : `; allowed: ${bytes(nonZeroBytes)} not zero in the parent + ${asked} × ${bytes(idleChildBytes)} of an idle child = ${bytes(nonZeroBytes + asked * idleChildBytes)}`
  return [
    `    memory added, ${memory.idleMs / 1000} s later: ${bytes(memory.privateBytes)} private + ${bytes(memory.newBaseBytes)} of new bases = ${bytes(memory.addedBytes)}${allowed}`,
    `    by the kernel’s account of what is available, all else on the machine in it: ${whole(memory.availableDropBytes / MiB)} MiB; proportional sets of the children ${bytes(memory.proportionalBytes)}`,
  ]
}
