/** Metrics for Prometheus: durations as they happen, everything else read from the engine at each scrape. */
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import { operationStates } from '../api/operation.ts'
import { snapshotStates } from '../api/snapshot.ts'
import { templateStates } from '../api/template.ts'
import { vmStates } from '../api/vm.ts'
import type { Engine, Measurement, MetricsSnapshot } from '../engine/contract.ts'
import { unreachable } from '../shared/assert.ts'

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
    return (measurement) => {
      const value = measurement.ms / 1000
      switch (measurement.kind) {
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
