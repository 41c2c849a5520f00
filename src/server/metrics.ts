/** Metrics for Prometheus: durations as they happen, everything else read from the engine at each scrape. */
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import { operationStates } from '../api/operation.ts'
import type { RestoreFigures } from '../api/restore.ts'
import { snapshotStates } from '../api/snapshot.ts'
import { templateStates } from '../api/template.ts'
import { vmStates } from '../api/vm.ts'
import type { Engine, Measurement, MetricsSnapshot } from '../engine/contract.ts'
import { unreachable } from '../shared/assert.ts'
import { hostMetrics } from './host-metrics.ts'

const seconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]

export class Metrics {
  readonly #engine: Engine
  readonly #registry = new Registry()
  readonly #show: ((snapshot: MetricsSnapshot) => void)[] = []
  readonly #requests: Histogram<'operation' | 'status'>
  readonly #unsubscribe: () => void

  constructor(engine: Engine, version: string) {
    this.#engine = engine
    const registers = [this.#registry]
    this.#requests = new Histogram({
      name: 'http_request_duration_seconds',
      help: 'From a request to the end of its answer, seconds.',
      labelNames: ['operation', 'status'],
      buckets: seconds,
      registers,
    })
    new Gauge({ name: 'ramet_info', help: 'Version of Ramet.', labelNames: ['version'], registers }).set({ version }, 1)
    this.#addCounts()
    this.#addSizes()
    const showHost = hostMetrics(this.#registry)
    this.#show.push(({ host }) => showHost(host))
    this.#unsubscribe = engine.onMeasurement(this.#durations())
  }

  request(operation: string, status: number, ms: number): void {
    this.#requests.observe({ operation, status: String(status) }, ms / 1000)
  }

  async text(): Promise<{ contentType: string; text: string }> {
    const snapshot = await this.#engine.metrics()
    for (const show of this.#show) show(snapshot)
    return { contentType: this.#registry.contentType, text: await this.#registry.metrics() }
  }

  close(): void {
    this.#unsubscribe()
    this.#registry.clear()
  }

  #addCounts(): void {
    this.#addStates('vms', 'Vms by state.', vmStates, (snapshot) => snapshot.vmsByState)
    this.#addStates('templates', 'Templates by state.', templateStates, (snapshot) => snapshot.templatesByState)
    this.#addStates('snapshots', 'Snapshots by state.', snapshotStates, (snapshot) => snapshot.snapshotsByState)
    this.#addStates('operations', 'Operations by state.', operationStates, (snapshot) => snapshot.operationsByState)
    const orphans = new Counter({
      name: 'orphans_reaped_total',
      help: 'Things without an owner that were found and removed.',
      labelNames: ['kind'],
      registers: [this.#registry],
    })
    this.#show.push(({ orphansReaped }) => {
      orphans.reset()
      for (const [kind, count] of Object.entries(orphansReaped)) orphans.inc({ kind }, count)
    })
  }

  #addStates<S extends string>(
    name: string,
    help: string,
    states: readonly S[],
    read: (snapshot: MetricsSnapshot) => Partial<Record<S, number>>,
  ): void {
    const gauge = new Gauge({ name, help, labelNames: ['state'], registers: [this.#registry] })
    this.#show.push((snapshot) => {
      const counts = read(snapshot)
      for (const state of states) gauge.set({ state }, counts[state] ?? 0)
    })
  }

  #addSizes(): void {
    const add = (name: string, help: string, read: (snapshot: MetricsSnapshot) => number) => {
      const gauge = new Gauge({ name, help, registers: [this.#registry] })
      this.#show.push((snapshot) => gauge.set(read(snapshot)))
    }
    add('vm_private_bytes', 'Guest memory private to vms, bytes.', (snapshot) => snapshot.privateBytes)
    add('vm_shared_bytes', 'Guest memory that vms read from shared bases, bytes.', (snapshot) => snapshot.sharedBytes)
    add('vmm_bytes', 'Private memory of QEMU beside the guests’, bytes.', (snapshot) => snapshot.vmmBytes)
    add('base_bytes', 'Memory of resident bases, bytes.', (snapshot) => snapshot.baseBytes)
    add('restores_filling', 'Vms that run while their memory still comes.', (snapshot) => snapshot.fillingCount)
    add('pool_armed', 'QEMU processes started ahead.', (snapshot) => snapshot.armedCount)
    add('disk_chain_depth', 'Files under the deepest disk.', (snapshot) => snapshot.diskChainDepth)
  }

  #durations(): (measurement: Measurement) => void {
    const registers = [this.#registry]
    const make = (name: string, help: string) => new Histogram({ name, help, buckets: seconds, registers })
    const stages = new Histogram({
      name: 'fork_duration_seconds',
      help: 'Stages of a fork, seconds.',
      labelNames: ['stage'],
      buckets: seconds,
      registers,
    })
    const pause = make('source_pause_seconds', 'The source of a fork not executing, seconds.')
    const boot = make('boot_duration_seconds', 'Cold boot until the agent answers, seconds.')
    const firstExec = make('first_exec_seconds', 'First command in a guest, seconds.')
    const ready = make('restore_ready_seconds', 'From the begin of a lazy restore until the agent answered, seconds.')
    const countRestore = restoreCounters(this.#registry)
    return (measurement) => {
      if (measurement.kind === 'restore') return countRestore(measurement)
      const value = measurement.ms / 1000
      switch (measurement.kind) {
        case 'restore-ready':
          return ready.observe(value)
        case 'fork-stage':
          return stages.observe({ stage: measurement.stage }, value)
        case 'source-pause':
          return pause.observe(value)
        case 'boot':
          return boot.observe(value)
        case 'first-exec':
          return firstExec.observe(value)
        default:
          return unreachable(measurement)
      }
    }
  }
}

/** Also where one restore's sample is too small to tell: summed over many, it is not. */
function usedPages({ prefetchedPages, prefetchSampledPages, prefetchSampledUsedPages }: RestoreFigures): number {
  return prefetchSampledPages === 0 ? 0 : (prefetchedPages * prefetchSampledUsedPages) / prefetchSampledPages
}

/** What lazy restores cost, summed over those that are over. */
function restoreCounters(registry: Registry): (measurement: Extract<Measurement, { kind: 'restore' }>) => void {
  const registers = [registry]
  const outcomes = new Counter({
    name: 'restores_total',
    help: 'Lazy restores that are over, by outcome.',
    labelNames: ['outcome'],
    registers,
  })
  const add = (name: string, help: string, read: (figures: RestoreFigures) => number) => {
    const counter = new Counter({ name, help, registers })
    return (figures: RestoreFigures) => counter.inc(Math.max(0, read(figures)))
  }
  const sums = [
    add('restore_demand_faults_total', 'Pages that guests waited for, zeros left out.', (all) => all.demandFaults),
    add('restore_zero_faults_total', 'Pages of zeros that guests waited for.', (all) => all.zeroFaults),
    add(
      'restore_prefetched_pages_total',
      'Pages sent ahead of being asked for, zeros left out.',
      (all) => all.prefetchedPages,
    ),
    add(
      'restore_prefetched_used_pages_total',
      'Of these, pages that guests used, estimated of each restore by its sample: over those sent ahead, the hit ratio.',
      usedPages,
    ),
    add(
      'restore_prefetch_sampled_pages_total',
      'Pages withheld to see whether guests would ask for them.',
      (all) => all.prefetchSampledPages,
    ),
    add(
      'restore_prefetch_sampled_used_pages_total',
      'Of these, pages that guests asked for.',
      (all) => all.prefetchSampledUsedPages,
    ),
    add('restore_sent_bytes_total', 'Guest memory sent, bytes.', (all) => all.sentBytes),
    add('restore_stall_seconds_total', 'Time that guests waited for pages, seconds.', (all) => all.stallMs / 1000),
  ]
  return ({ outcome, figures }) => {
    outcomes.inc({ outcome })
    if (figures !== undefined) for (const sum of sums) sum(figures)
  }
}
