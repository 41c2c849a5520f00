import { textTable } from '../../src/cli/text-table.ts'
import { formatBytes } from '../../src/shared/limits.ts'
import { machineLine, verdictTable } from '../report.ts'
import type { OpportunisticReport } from './opportunistic-bench.ts'
import { hostBytes, type StartArm, vmBytes } from './vm-start.ts'

/** The report for people. */
export function showOpportunistic(report: OpportunisticReport): string {
  const { machine, loads } = report
  return [
    machineLine(machine),
    `load after each part: ${Object.entries(loads)
      .map(([name, load]) => `${name} ${load}`)
      .join(', ')}`,
    hitTable(report),
    allocationTable(report),
    optionTable(report),
    ...ratioTable(report),
    ...startTable(report),
    stressTable(report),
    verdictTable(report.verdicts),
  ].join('\n\n')
}

function hitTable({ hits }: OpportunisticReport): string {
  const rows = hits.map(({ kind, setBytes, blockBytes, readNs, overCopy, overIndexed }) => [
    `${formatBytes(setBytes)} by ${formatBytes(blockBytes)}`,
    kind,
    ...[readNs.copy, readNs.indexed, readNs.hit].map((ns) => ns.toFixed(0)),
    ...[overCopy, overIndexed].map((ratio) => ratio.toFixed(2)),
  ])
  const title = 'A hit, beside a plain copy from a known place, and one from a place found by its key; nanoseconds'
  return `${title}\n${textTable(['SET', 'CACHE', 'COPY', 'BY KEY', 'HIT', 'OVER COPY', 'OVER BY KEY'], rows)}`
}

function allocationTable({ allocations }: OpportunisticReport): string {
  const rows = [...allocations.freeList, ...allocations.eviction].map(({ what, p25Ns, p50Ns, p99Ns, batch }) => [
    what,
    ...[p25Ns, p50Ns, p99Ns].map((ns) => ns.toFixed(0)),
    String(batch),
  ])
  return `An allocation of 4 KiB, nanoseconds\n${textTable(['FROM', 'P25', 'P50', 'P99', 'IN A BATCH'], rows)}`
}

function optionTable({ options }: OpportunisticReport): string {
  const rows = options.map(({ cap, secondChances, hotRatio, scanRatio }) => [
    cap ? 'half of the pool' : 'none',
    String(secondChances),
    percent(hotRatio),
    percent(scanRatio),
  ])
  const title = 'Hits of a consumer with a small set, beside one that scans, on one pool'
  return `${title}\n${textTable(['CAP OF THE OTHER', 'SECOND CHANCES', 'ITS HITS', "THE OTHER'S"], rows)}`
}

function ratioTable({ hitRatios, trace }: OpportunisticReport): string[] {
  if (trace === undefined) return []
  const rows = hitRatios.map(({ part, cache, ratio, passes }) => [
    percent(part),
    cache,
    percent(ratio),
    ...passes.map(percent),
  ])
  const names = trace.passes.map(({ name }) => name.toUpperCase())
  const passes = trace.passes.map(
    ({ name, reads, ofTheFill, blocks }) => `${name}: ${reads} reads of ${blocks} blocks, ${ofTheFill} by the fill`,
  )
  const title = `Hits over the size of the cache, of ${trace.blocks} blocks: ${trace.source} (${passes.join('; ')})`
  return [`${title}\n${textTable(['ROOM', 'CACHE', 'HITS', ...names], rows)}`]
}

function startTable({ starts }: OpportunisticReport): string[] {
  if (starts === undefined)
    return ['No start of a vm was measured: none was asked for, or no limit on memory can be set here.']
  const rows = Object.entries(starts.startMs).map(([arm, { p50, p90, p99, count }]) => {
    const name = arm as StartArm
    const { before, after } = starts.heldBytes[name]
    return [
      startNames[name],
      ...[p50, p90, p99].map((ms) => ms.toFixed(0)),
      starts.overEmpty[name].toFixed(2),
      `${formatBytes(before)} → ${formatBytes(after)}`,
      String(count),
    ]
  })
  const title = `Start of a vm of ${formatBytes(vmBytes)} in a host of ${formatBytes(hostBytes)}, milliseconds (target: ≤ 1.2 over empty)`
  const head = ['HOST', 'P50', 'P90', 'P99', 'OVER EMPTY', 'CACHE HELD', 'RUNS']
  return [`${title}\n${textTable(head, rows)}\nBeside a plain cache that nobody told: ${starts.untold}.`]
}

const startNames: Record<StartArm, string> = {
  empty: 'empty',
  kernel: 'full, kernel: nobody told, the kernel takes',
  'kernel-ahead': 'full, kernel: room kept free ahead (the product, within its reserve)',
  'kernel-within': 'full, kernel: room given back within the start (the product, beyond it)',
  'lru-ahead': 'full, lru: room kept free ahead',
  'lru-within': 'full, lru: room given back within the start',
}

function stressTable({ stress }: OpportunisticReport): string {
  const rows = stress.map(({ kind, accepted, lost, taken, torn, elapsedMs }) => [
    kind,
    ...[accepted, lost, taken, torn].map(String),
    `${(elapsedMs / 1000).toFixed(1)} s`,
  ])
  return `Reads while memory is taken\n${textTable(['CACHE', 'ACCEPTED', 'LOST', 'TAKEN', 'TORN', 'IN'], rows)}`
}

const percent = (part: number) => `${(part * 100).toFixed(1)}%`
