import { limits } from '../../src/shared/limits.ts'
import { listOf, UsageError, whole } from '../arguments.ts'
import { measuredPolicies } from './lazy-series.ts'
import { guestKinds } from './moment.ts'
import type { RestoreBenchOptions } from './restore-bench.ts'

export const restoreUsage = `Usage: ramet bench restore [options]

Measures restores of a guest of 512 MiB with 100 MiB of live Python objects: page by page from a page server, by each
policy of prefetch and from stores of several delays; beside them QEMU's own restore of the same guest from a file, and the
guest with all of its memory there. Told are the pages waited for until the agent answers, until a first command has run and
over a walk through the heap, the pages moved, and the times; then how fast the rest comes by itself, and how large
checkpoints are. Each walk is checked: what it reads is what was there.

  --guests LIST          fresh: just booted · fragmented: its heap lies in single pages all over its memory (both)
  --policies LIST        ${measuredPolicies.join(',')} (all)
  --delays LIST          of the store, added to each read, milliseconds (0,0.2,1)
  --runs N               restores of each kind (20)
  --fill-runs N          of the fill, alone and beside each of four loads (5; 0: do not)
  --pause-runs N         snapshots and live forks of a running vm, whose pauses are compared (10; 0: do not)
  --memory MIB           of the guest (512)
  --heap MIB             of live objects (100)
  --seed N               of the objects (1)
  --sample-every N       one in so many prefetched pages is withheld, to learn how many are used; 0: none (by size)
  --dir DIR              where to put guests and checkpoints (the directory for temporary files)
  -o, --output table|json, or --json

A run takes about two minutes on a quiet host, and each guest one to prepare. For a first look:
  ramet bench restore --runs 1 --fill-runs 1 --pause-runs 2 --delays 0

Example: ramet bench restore --runs 5 --json > restore.json
`

export const restoreArguments = {
  guests: { type: 'string' },
  policies: { type: 'string' },
  delays: { type: 'string' },
  'fill-runs': { type: 'string' },
  'pause-runs': { type: 'string' },
  memory: { type: 'string' },
  heap: { type: 'string' },
  seed: { type: 'string' },
  'sample-every': { type: 'string' },
} as const

export type RestoreArguments = { [name in keyof typeof restoreArguments]?: string } & { runs?: string; dir?: string }

const MiB = 1024 * 1024

/** @throws UsageError */
export function parseRestore(values: RestoreArguments): Omit<RestoreBenchOptions, 'signal' | 'say'> {
  const { guests, policies, dir, 'sample-every': sampleEvery } = values
  return {
    guests: listOf(guests ?? guestKinds.join(','), (text) => oneOf('--guests', guestKinds, text)),
    policies: listOf(policies ?? measuredPolicies.join(','), (text) => oneOf('--policies', measuredPolicies, text)),
    storeDelaysMs: listOf(values.delays ?? '0,0.2,1', delay),
    runs: whole('--runs', values.runs ?? '20', 1, 10_000),
    fillRuns: whole('--fill-runs', values['fill-runs'] ?? '5', 0, 10_000),
    pauseRuns: whole('--pause-runs', values['pause-runs'] ?? '10', 0, 10_000),
    memoryBytes: whole('--memory', values.memory ?? '512', 512, 64 * 1024) * MiB,
    heapBytes: whole('--heap', values.heap ?? '100', 1, 48 * 1024) * MiB,
    seed: whole('--seed', values.seed ?? '1', 0, 2 ** 31),
    ...(sampleEvery === undefined ? {} : { sampleEvery: whole('--sample-every', sampleEvery, 0, 2 ** 31) }),
    ...(dir === undefined ? {} : { dir }),
  }
}

function oneOf<T extends string>(option: string, known: readonly T[], text: string): T {
  const found = known.find((candidate) => candidate === text)
  if (found === undefined) throw new UsageError(`${option} takes ${known.join(', ')}`)
  return found
}

function delay(text: string): number {
  const delayMs = Number(text)
  if (/^\d+(\.\d+)?$/.test(text) && delayMs <= limits.pageServerDelayMaxMs) return delayMs
  throw new UsageError(`--delays takes milliseconds from 0 to ${limits.pageServerDelayMaxMs}, such as 0.2`)
}
