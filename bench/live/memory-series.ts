import type { Template, Vm } from '../../src/client/index.ts'
import { formatBytes } from '../../src/shared/limits.ts'
import { quantile } from '../summary.ts'
import { forkLive, onlyChild, type Way, WayUnavailable } from './fork-call.ts'
import { fillMemory, startWork, type Work } from './guest-load.ts'
import { type Slowdown, slowdownOf } from './ticks.ts'
import { type LiveTools, MiB, makeTemplate, memoryFor, pass, withParent } from './tools.ts'

/** Forks of one parent with one delta, captured in one way. It has no disk. */
export interface MemorySeries {
  way: Way
  /** whether the guest kept writing all of the delta */
  isWriting: boolean
  /** what was written in the guest */
  askedBytes: number
  memoryBytes: number
  /** memory of its own that each fork found in the parent */
  deltaBytes: number[]
  /** what the daemon said of the last of them, as it says it */
  capture: Record<string, unknown>
  /** stages, milliseconds */
  samples: Record<string, number>[]
  /** how each fork weighed on the parent; only of a guest that writes */
  slowdowns: Slowdown[]
}

export interface MemoryMeasurement {
  series: MemorySeries[]
  /** ways that could not be measured, and why */
  unavailable: { way: Way; reason: string }[]
}

export interface MemoryOptions {
  deltas: readonly number[]
  ways: readonly Way[]
  runs: number
}

const aroundMs = 1000
/** beyond this much a run takes seconds, and half of them are made */
const hugeBytes = 512 * MiB

export const runsFor = (deltaBytes: number, runs: number): number =>
  deltaBytes > hugeBytes ? Math.ceil(runs / 2) : runs

/** All sizes, each copied at rest, and then in each way while the guest writes. */
export async function measureMemory(tools: LiveTools, options: MemoryOptions): Promise<MemoryMeasurement> {
  const found: MemoryMeasurement = { series: [], unavailable: [] }
  const templates = new Map<number, Template>()
  for (const askedBytes of options.deltas) {
    const memoryBytes = memoryFor(askedBytes)
    const name = `memory-${memoryBytes / MiB}`
    const template = templates.get(memoryBytes) ?? (await makeTemplate(tools, name, { memoryBytes }))
    templates.set(memoryBytes, template)
    await withParent(template, async (parent) => {
      tools.say(`memory: writing ${formatBytes(askedBytes)} in a guest of ${formatBytes(memoryBytes)}`)
      await fillMemory(parent, askedBytes, 1)
      await measureParent(tools, parent, { askedBytes, memoryBytes }, options, found)
    })
  }
  return found
}

async function measureParent(
  tools: LiveTools,
  parent: Vm,
  size: { askedBytes: number; memoryBytes: number },
  options: MemoryOptions,
  found: MemoryMeasurement,
): Promise<void> {
  const runs = runsFor(size.askedBytes, options.runs)
  const isOut = (way: Way) => found.unavailable.some((entry) => entry.way === way)
  const measure = async (way: Way, work: Work | undefined) => {
    const series: MemorySeries = {
      way,
      isWriting: work !== undefined,
      ...size,
      deltaBytes: [],
      capture: {},
      samples: [],
      slowdowns: [],
    }
    try {
      for (let run = 0; run < runs; run += 1) await measureOne(tools, parent, series, work)
      found.series.push(series)
      tools.say(`memory: ${describe(series)}`)
    } catch (error) {
      if (!(error instanceof WayUnavailable)) throw error
      found.unavailable.push({ way, reason: error.message })
      tools.say(`${way}: not available: ${error.message}`)
    }
  }
  if (options.ways.includes('copy')) await measure('copy', undefined)
  await using work = await startWork(parent, size.askedBytes)
  for (const way of options.ways) if (!isOut(way)) await measure(way, work)
}

async function measureOne(tools: LiveTools, parent: Vm, series: MemorySeries, work: Work | undefined): Promise<void> {
  tools.signal.throwIfAborted()
  if (work === undefined) await tools.runFloor()
  else await pass(tools, aroundMs)
  const { memory } = await parent.stats()
  const fork = await forkLive(tools, parent, { way: series.way })
  await using _child = onlyChild(fork)
  if (work !== undefined) {
    // A line more than that, so that the end can be interpolated.
    await pass(tools, aroundMs + 200)
    series.slowdowns.push(slowdownOf(work.ticks, fork, aroundMs))
  }
  series.capture = fork.capture
  const { deltaBytes } = fork.capture
  series.deltaBytes.push(typeof deltaBytes === 'number' ? deltaBytes : memory.privateBytes)
  series.samples.push(fork.timings)
}

function describe({ way, isWriting, askedBytes, samples }: MemorySeries): string {
  const p50 = (stage: string) =>
    quantile(
      samples.flatMap((sample) => sample[stage] ?? []),
      0.5,
    ).toFixed(0)
  const guest = isWriting ? 'writing' : 'at rest'
  return `${formatBytes(askedBytes)} by ${way}, guest ${guest}: pause ${p50('pauseMs')} ms, ready ${p50('readyMs')} ms, ${samples.length} runs`
}
