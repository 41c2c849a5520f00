import { parseSizeBytes } from '../../src/cli/parse/size.ts'
import { limits } from '../../src/shared/limits.ts'
import { listOf, UsageError, whole } from '../arguments.ts'
import { type Way, ways } from './fork-call.ts'
import type { LiveBenchOptions } from './live-bench.ts'
import { GiB, MiB } from './tools.ts'

export const liveUsage = `With --live: forks of running vms, in one run with the floor.

  --deltas LIST          memory to write in the guest (8M,32M,128M,512M,1G; none)
  --disk-deltas LIST     disk to write in the guest (8M,64M,512M; none)
  --ways LIST            ways of capture (copy,background)
  --runs N               forks of each kind (20; half as many beyond 512M)
  --generations N        also fork a fork of a fork, N times (0: do not)
  --children LIST        also fork so many children of one parent by one request (none)
  --dir DIR              where to put the vms; without reflink there, an XFS that has it is mounted for the
                         disks too, if root and xfsprogs are here (the directory for temporary files)

Example: ramet bench fork --live --generations 50 --children 16,100 --json > live.json
`

export const liveArguments = {
  live: { type: 'boolean', default: false },
  deltas: { type: 'string' },
  'disk-deltas': { type: 'string' },
  ways: { type: 'string' },
  runs: { type: 'string' },
  generations: { type: 'string' },
  dir: { type: 'string' },
} as const

export type LiveArguments = { [name in keyof Omit<typeof liveArguments, 'live'>]?: string } & { children?: string }

/** @throws UsageError */
export function parseLive(values: LiveArguments): Omit<LiveBenchOptions, 'signal' | 'say'> {
  return {
    deltas: listOf(values.deltas ?? '8M,32M,128M,512M,1G', (text) => size('--deltas', text)),
    diskDeltas: listOf(values['disk-deltas'] ?? '8M,64M,512M', (text) => size('--disk-deltas', text)),
    ways: listOf(values.ways ?? ways.join(','), way),
    runs: whole('--runs', values.runs ?? '20', 1, 10_000),
    generations: whole('--generations', values.generations ?? '0', 0, 10_000),
    children: listOf(values.children ?? 'none', (text) => whole('--children', text, 1, limits.forkMaxCount)),
    ...(values.dir === undefined ? {} : { dir: values.dir }),
  }
}

function size(option: string, text: string): number {
  let bytes = Number.NaN
  try {
    bytes = parseSizeBytes(text)
  } catch {
    // Told below.
  }
  if (bytes >= MiB && bytes <= 64 * GiB && bytes % MiB === 0) return bytes
  throw new UsageError(`${option}: “${text}” is no size in whole MiB, from 1M to 64G`)
}

function way(text: string): Way {
  const found = ways.find((candidate) => candidate === text)
  if (found === undefined) throw new UsageError(`--ways takes ${ways.join(' and ')}`)
  return found
}
