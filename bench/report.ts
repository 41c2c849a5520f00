import { textTable } from '../src/cli/text-table.ts'
import { formatBytes } from '../src/shared/limits.ts'
import type { ForkReport } from './fork-bench.ts'
import type { MachineFacts } from './machine-facts.ts'
import type { Summary } from './summary.ts'
import type { Verdict } from './verdicts.ts'

/** The report for people. */
export function showReport(report: ForkReport): string {
  const { machine, summary } = report
  const parts = [
    machineLine(machine),
    stageTable('The floor: stock QEMU, nothing else', summary.floor),
    stageTable(`A fork of ${report.image}, armed, one in flight`, summary.fork),
    stageTable(`A cold boot of ${report.image}`, summary.coldBoot),
    memoryTable(report),
  ]
  if (report.crowd !== undefined) {
    const { asked, answered, allReadyMs, allAnsweredMs, guestPrivateBytes, vmmBytes, failures } = report.crowd
    parts.push(
      `${asked} children by one request: ready after ${allReadyMs.toFixed(0)} ms, ${answered} had answered after ${allAnsweredMs.toFixed(0)} ms; ` +
        `${formatBytes(guestPrivateBytes)} of guest memory of their own, ${formatBytes(vmmBytes)} of QEMU's`,
      ...failures,
    )
  }
  parts.push(verdictTable(report.verdicts))
  return parts.join('\n\n')
}

/** Where it was measured. */
export function machineLine(machine: MachineFacts): string {
  return `${machine.cpuModel}, ${machine.cpuCount} cores, Linux ${machine.kernel}, QEMU ${machine.qemuVersion} under ${machine.accelerator}, load ${machine.loadAverage.join(' ')}`
}

export function verdictTable(verdicts: readonly Verdict[]): string {
  const rows = verdicts.map(({ promise, target, measured, met }) => [promise, target, measured, met ? 'met' : 'MISSED'])
  return textTable(['PROMISE', 'TARGET', 'MEASURED', ''], rows)
}

export function stageTable(title: string, stages: Record<string, Summary>): string {
  const ms = (value: number) => value.toFixed(1)
  const rows = Object.entries(stages).map(([stage, { count, min, p50, p90, p99, max }]) => [
    stage.replace(/Ms$/, ''),
    ...[min, p50, p90, p99, max].map(ms),
    String(count),
  ])
  return `${title}, milliseconds\n${textTable(['STAGE', 'MIN', 'P50', 'P90', 'P99', 'MAX', 'RUNS'], rows)}`
}

function memoryTable({ idle, image }: ForkReport): string {
  const rows = idle.map(({ guestPrivateBytes, guestSharedBytes, vmmBytes }) =>
    [guestPrivateBytes, guestSharedBytes, vmmBytes].map((bytes) => formatBytes(bytes)),
  )
  return `An idle child of ${image}, ${(idle[0]?.afterMs ?? 0) / 1000} s after its fork\n${textTable(['GUEST, ITS OWN', 'GUEST, SHARED', 'QEMU'], rows)}`
}
