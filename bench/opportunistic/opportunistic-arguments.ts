import { UsageError, whole } from '../arguments.ts'
import type { OpportunisticBenchOptions } from './opportunistic-bench.ts'
import { readTrace } from './trace.ts'

export const opportunisticUsage = `ramet bench opportunistic: memory that is in use and free at once.

  --rounds N             rounds of each comparison of reads and allocations (40)
  --reads N              accepted reads of each kind, for torn ones among them (1000000)
  --runs N               starts of a vm beside a cache, of each kind (12; 0: none)
  --trace FILE           reads for the hit ratio: a key on each line, “@ name” before each pass;
                         none: no hit ratio (three restores of real guests, recorded in this run)

A run takes about three minutes on a quiet host; the figures of docs/spec.md are of such a run.

Example: ramet bench opportunistic --json > opportunistic.json
`

export const opportunisticArguments = {
  rounds: { type: 'string' },
  reads: { type: 'string' },
  trace: { type: 'string' },
} as const

export interface OpportunisticArguments {
  rounds?: string
  reads?: string
  trace?: string
  runs?: string
}

/** @throws UsageError */
export function parseOpportunistic(values: OpportunisticArguments): Omit<OpportunisticBenchOptions, 'signal' | 'say'> {
  if (values.trace === '') throw new UsageError('--trace takes a file')
  return {
    rounds: whole('--rounds', values.rounds ?? '40', 1, 10_000),
    reads: whole('--reads', values.reads ?? '1000000', 1, 1_000_000_000),
    runs: whole('--runs', values.runs ?? '12', 0, 10_000),
    trace: traceOf(values.trace),
  }
}

function traceOf(text: string | undefined): OpportunisticBenchOptions['trace'] {
  if (text === undefined) return 'recorded'
  return text === 'none' ? undefined : readTrace(text)
}
