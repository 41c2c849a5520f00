import { textTable } from '../../src/cli/text-table.ts'
import { formatBytes } from '../../src/shared/limits.ts'
import { machineLine, verdictTable } from '../report.ts'
import { type Summary, summarize } from '../summary.ts'
import type { FillSeries } from './fill-series.ts'
import type { GuestFacts, RestoreReport } from './restore-bench.ts'
import { fillRate, median, waitRatio } from './restore-verdicts.ts'

const whole = (value: number | undefined) => (value === undefined || Number.isNaN(value) ? '-' : value.toFixed(0))
const spread = (summary: Summary | undefined) =>
  summary === undefined ? '-' : [summary.p50, summary.p90, summary.p99].map(whole).join(' / ')
const percent = (share: number) => `${(100 * share).toFixed(1)} %`

/** The report for people. */
export function showRestoreReport(report: RestoreReport): string {
  return [
    machineLine(report.machine),
    guestTable(report.guests),
    faultTable(report),
    prefetchTable(report),
    timeTable(report),
    ...report.fill.map(fillTable),
    ...(report.pauses.length > 0 ? [pauseTable(report)] : []),
    verdictTable(report.verdicts),
  ].join('\n\n')
}

function guestTable(guests: readonly GuestFacts[]): string {
  const rows = guests.map(({ guest, heapBytes, nearShare, pages, zeroPages, checkpointBytes, order }) => [
    guest,
    formatBytes(heapBytes),
    percent(nearShare),
    whole(pages),
    whole(pages - zeroPages),
    formatBytes(checkpointBytes),
    order.kind,
  ])
  const header = ['GUEST', 'HEAP', 'ADJACENT PAGES WITHIN 16 FRAMES', 'PAGES', 'NOT ZEROS', 'CHECKPOINT', 'ORDER']
  return `The guests\n${textTable(header, rows)}`
}

/** Counts hardly differ from run to run: their medians. */
function faultTable({ lazy }: RestoreReport): string {
  const rows = lazy.map(({ guest, policy, storeDelayMs, summary }) => [
    guest,
    policy,
    `${storeDelayMs} ms`,
    ...['answeredFaults', 'execFaults', 'walkFaults', 'walkPages', 'pages', 'stallMs'].map((name) =>
      whole(summary[name]?.p50),
    ),
  ])
  const header = [
    'GUEST',
    'POLICY',
    'STORE',
    'UNTIL ANSWER',
    'UNTIL FIRST EXEC',
    'WALK',
    'PAGES, WALK',
    'PAGES',
    'STALL MS',
  ]
  return `Demand faults, pages moved and time stalled until the walk's end: medians\n${textTable(header, rows)}`
}

/**
 * How much of what was sent ahead is used: as the sample tells, of all runs together, and as the demand faults of `none` do,
 * of which so many are gone. The second knows of no page that is used in one restore and not in another.
 */
function prefetchTable({ lazy }: RestoreReport): string {
  const rows = lazy.flatMap(({ guest, policy, storeDelayMs, samples, summary }) => {
    const none = lazy.find((other) => other.guest === guest && other.policy === 'none')?.summary.demandPages
    const sum = (name: 'sampledPages' | 'sampledUsedPages') =>
      samples.reduce((total, sample) => total + sample[name], 0)
    const [sampled, used, brought] = [sum('sampledPages'), sum('sampledUsedPages'), summary.prefetchedPages?.p50 ?? 0]
    const spared = (none?.p50 ?? Number.NaN) - (summary.demandPages?.p50 ?? 0)
    const share = (of: number, all: number) => (all === 0 || Number.isNaN(of) ? '-' : percent(of / all))
    if (brought === 0) return []
    return [
      [
        ...[guest, policy, `${storeDelayMs} ms`, whole(brought), `${used} of ${sampled}`],
        ...[share(used, sampled), share(spared, brought)],
      ],
    ]
  })
  const header = ['GUEST', 'POLICY', 'STORE', 'PAGES SENT AHEAD', 'SAMPLE USED', 'HIT RATIO', 'FAULTS SPARED']
  return `What was sent ahead, until the walk's end, and how much of it the guest used\n${textTable(header, rows)}`
}

function timeTable({ lazy, rivals, runs }: RestoreReport): string {
  const stages = ['spawnMs', 'loadMs', 'loadedMs', 'answeredMs', 'execMs', 'walkMs']
  const cells = (summary: Record<string, Summary>, count: number) => [
    ...stages.map((stage) => spread(summary[stage])),
    String(count),
  ]
  const rows = [
    ...rivals.map(({ guest, way, summary, samples }) => [
      guest,
      way === 'full' ? 'QEMU, full restore' : 'resident',
      '-',
      ...cells(summary, samples.length),
    ]),
    ...lazy.map(({ guest, policy, storeDelayMs, summary, samples }) => [
      guest,
      policy,
      `${storeDelayMs} ms`,
      ...cells(summary, samples.length),
    ]),
  ]
  const few = runs < 20 ? '; so few runs have no percentiles, but a worst' : ''
  return (
    `Times: p50 / p90 / p99, milliseconds, of ${runs} runs${few}\n` +
    textTable(
      ['GUEST', 'WAY', 'STORE', 'SPAWN', 'LOAD', 'LOAD TO ANSWER', 'ANSWER IN ALL', 'FIRST EXEC', 'WALK', 'RUNS'],
      rows,
    )
  )
}

function fillTable({ guest, idleBytesPerSecond, curve }: FillSeries): string {
  const rate = (bytesPerSecond: number) => (bytesPerSecond / 1e6).toFixed(0)
  const us = (figures: readonly number[]) => whole(median(figures))
  const rows = curve.map((point) => [
    `${point.gapUs} µs`,
    whole(median(point.samples.map(({ faultsPerSecond }) => faultsPerSecond))),
    rate(fillRate(point)),
    us(point.samples.map(({ idleWaitUs }) => idleWaitUs.p50)),
    us(point.samples.map(({ waitUs }) => waitUs.p50)),
    us(point.samples.map(({ waitUs }) => waitUs.p90)),
    us(point.samples.map(({ waitUs }) => waitUs.p99)),
    waitRatio(point).toFixed(2),
    String(point.samples.length),
  ])
  const header = ['GAP', 'FAULTS/S', 'FILL MB/S', 'WAIT µs, NO FILL', 'WAIT', 'P90', 'P99', 'RATIO', 'RUNS']
  return (
    `The fill of a ${guest} guest: ${rate(median(idleBytesPerSecond))} MB/s while it waits for nothing. Beside a guest that waits for one page after another:\n` +
    textTable(header, rows)
  )
}

function pauseTable({ pauses }: RestoreReport): string {
  const rows = pauses.map(({ way, deltaBytes, snapshotMs, forkMs }) => [
    way,
    formatBytes(deltaBytes),
    spread(summarize(snapshotMs)),
    spread(summarize(forkMs)),
    String(snapshotMs.length),
  ])
  const header = ['WAY', 'WRITTEN', 'SNAPSHOT', 'LIVE FORK', 'RUNS']
  return `Pauses of a running vm that writes: p50 / p90 / p99, milliseconds\n${textTable(header, rows)}`
}
