import { loadavg } from 'node:os'
import type { Key } from '../../src/opportunistic/cache.ts'
import { kinds } from '../../src/opportunistic/testing/realisations.ts'
import { type StressResult, stress } from '../../src/opportunistic/testing/stress.ts'
import { type MachineFacts, machineFacts } from '../machine-facts.ts'
import type { Verdict } from '../verdicts.ts'
import { type AllocationCosts, measureAllocations } from './allocation-cost.ts'
import { type HitCost, measureHits } from './hit-cost.ts'
import { type HitRatio, measureHitRatios, measureOptions, type OptionEffect } from './hit-ratio.ts'
import { judgeOpportunistic } from './opportunistic-verdicts.ts'
import { recordTrace } from './record-trace.ts'
import type { Trace } from './trace.ts'
import { measureStarts, type VmStarts } from './vm-start.ts'

export interface OpportunisticBenchOptions {
  rounds: number
  reads: number
  runs: number
  /** for the hit ratio; `recorded` in this run, from real restores; undefined: none */
  trace: Trace | 'recorded' | undefined
  signal: AbortSignal
  say(text: string): void
}

export interface OpportunisticMeasured {
  hits: HitCost[]
  allocations: AllocationCosts
  options: OptionEffect[]
  hitRatios: HitRatio[]
  /** undefined when none was asked for, or no limit on memory can be set here */
  starts?: VmStarts
  stress: StressResult[]
  /** accepted reads whose content was not whole, of all kinds */
  tornReads: number
}

export interface OpportunisticReport extends OpportunisticMeasured {
  machine: MachineFacts
  /** load of the last minute, after each part */
  loads: Record<string, number>
  trace?: TraceFacts
  verdicts: Verdict[]
}

export interface TraceFacts {
  source: string
  passes: { name: string; reads: number; ofTheFill: number; blocks: number }[]
  /** different ones in all passes */
  blocks: number
}

const MiB = 1024 * 1024
const sets: [number, number][] = [
  [8 * MiB, 4096],
  [256 * MiB, 4096],
  [8 * MiB, 64 * 1024],
  [256 * MiB, 64 * 1024],
]

/** @throws the signal's reason, between two parts */
export async function benchOpportunistic(options: OpportunisticBenchOptions): Promise<OpportunisticReport> {
  const { rounds, reads, runs, trace, signal, say } = options
  const machine = await machineFacts('tcg')
  const loads: Record<string, number> = {}
  const part = async <T>(name: string, measure: () => T | Promise<T>): Promise<T> => {
    signal.throwIfAborted()
    say(name)
    const measured = await measure()
    loads[name] = Math.round((loadavg()[0] ?? Number.NaN) * 10) / 10
    return measured
  }
  const hits: HitCost[] = []
  for (const [setBytes, blockBytes] of sets) {
    const name = `hits: ${setBytes / MiB} MiB by ${blockBytes / 1024} KiB`
    for (const kind of kinds)
      hits.push(await part(`${name}: ${kind}`, () => measureHits({ kind, setBytes, blockBytes, rounds })))
  }
  const allocations = await part('allocations', () => measureAllocations(Math.ceil(rounds / 10)))
  const traced =
    trace === 'recorded' ? await part('three restores, recorded', () => recordTrace({ signal, say })) : trace
  const ratios = traced === undefined ? [] : await part('hit ratio over size', () => measureHitRatios(traced))
  const effects = await part('cap and second chances', measureOptions)
  const starts = runs === 0 ? undefined : await part('starts of a vm', () => measureStarts(runs, signal))
  const stressed: StressResult[] = []
  for (const kind of kinds) {
    const how = { check: 'after', readers: 2, taking: { what: 'pages' }, seed: 1 } as const
    const size = { blockCount: 2048, blockBytes: 4096, accepted: reads }
    stressed.push(await part(`reads while memory is taken: ${kind}`, () => stress({ ...how, ...size, kind })))
  }
  const measured: OpportunisticMeasured = {
    ...{ hits, allocations, options: effects, hitRatios: ratios, stress: stressed },
    tornReads: stressed.reduce((sum, { torn }) => sum + torn, 0),
    ...(starts === undefined ? {} : { starts }),
  }
  const facts = traced === undefined ? {} : { trace: factsOf(traced) }
  return { machine, loads, ...facts, ...measured, verdicts: judgeOpportunistic(measured) }
}

function factsOf({ source, passes }: Trace): TraceFacts {
  const blocksOf = (keys: readonly Key[]) => new Set(keys).size
  return {
    source,
    passes: passes.map(({ name, keys, fillFrom = keys.length }) => ({
      ...{ name, reads: keys.length, ofTheFill: keys.length - fillFrom, blocks: blocksOf(keys) },
    })),
    blocks: blocksOf(passes.flatMap(({ keys }) => keys)),
  }
}
