import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startScratchDaemon } from '../../tools/scratch-daemon.ts'
import { armFloor, type FloorSample } from '../floor.ts'
import { forkOne } from '../fork-runs.ts'
import { type MachineFacts, machineFacts } from '../machine-facts.ts'
import { readSpecimen } from '../specimen.ts'
import { type Summary, summarizeAll } from '../summary.ts'
import type { Verdict } from '../verdicts.ts'
import { type DiskSeries, measureDisks } from './disk-series.ts'
import type { Way } from './fork-call.ts'
import { type GenerationCurve, measureGenerations } from './generations.ts'
import { buildGuestLoad } from './guest-load.ts'
import { type LiveCrowd, measureCrowds } from './live-crowd.ts'
import { type CrossOvers, crossOversOf, judgeLive } from './live-verdicts.ts'
import { type MemoryMeasurement, type MemorySeries, measureMemory } from './memory-series.ts'
import { fileSystemOf, mountReflink } from './reflink-mount.ts'
import { GiB, type LiveTools, makeTemplate, memoryFor } from './tools.ts'

export interface LiveBenchOptions {
  /** memory deltas to write, bytes */
  deltas: number[]
  /** disk deltas to write, bytes */
  diskDeltas: number[]
  ways: Way[]
  /** forks of each kind */
  runs: number
  /** forks of forks, one after the other; 0 for none */
  generations: number
  /** children by one request, a measurement each */
  children: number[]
  /** where to put the data directory; the system's directory for temporary files when left out */
  dir?: string
  signal: AbortSignal
  /** progress, a line each */
  say(text: string): void
}

export interface LiveReport {
  benchmark: 'fork-live'
  machine: MachineFacts
  runs: number
  floor: { samples: FloorSample[]; summary: Record<string, Summary> }
  memory: (MemorySeries & { summary: Record<string, Summary> })[]
  disks: (DiskSeries & { summary: Record<string, Summary> })[]
  generations: GenerationCurve[]
  crowds: LiveCrowd[]
  crossOvers?: CrossOvers
  /** what could not be measured here, and why */
  leftOut: string[]
  verdicts: Verdict[]
}

/** room for deltas, their copies and what the daemon keeps free; the file is sparse */
const reflinkBytes = 24 * GiB

/** Measures forks of running vms, by daemons of its own that are gone afterwards. */
export async function benchLive(options: LiveBenchOptions): Promise<LiveReport> {
  const { signal, say } = options
  const dir = options.dir ?? tmpdir()
  const samples: FloorSample[] = []
  const leftOut: string[] = []
  const main = await withTools(options, dir, samples, async (tools, hasReflink) => {
    const machine = await machineFacts((await tools.daemon.ramet.host()).accelerator)
    const memory = await measureMemory(tools, { deltas: options.deltas, ways: options.ways, runs: options.runs })
    leftOut.push(...memory.unavailable.map(({ way, reason }) => `${way}: not available: ${reason}`))
    const where = { fileSystem: await fileSystemOf(dir), hasReflink }
    const disks = await measureDisks(tools, where, { deltas: options.diskDeltas, runs: options.runs })
    const generations = options.generations > 0 ? await measureGenerations(tools, options.generations) : []
    return { machine, memory, disks, generations, crowds: await measureCrowds(tools, options.children), hasReflink }
  })
  const disks = [...main.disks]
  if (options.diskDeltas.length > 0 && !main.hasReflink) {
    const mount = await mountReflink(reflinkBytes, dir)
    if (typeof mount === 'string') leftOut.push(`disks with reflink: ${mount}`)
    else {
      try {
        disks.push(
          ...(await withTools(options, mount.dir, samples, (tools, hasReflink) =>
            measureDisks(tools, { fileSystem: 'xfs', hasReflink }, { deltas: options.diskDeltas, runs: options.runs }),
          )),
        )
      } finally {
        await mount.remove()
      }
    }
  }
  signal.throwIfAborted()
  for (const reason of leftOut) say(`left out: ${reason}`)
  return reportOf(options, { ...main, disks }, samples, leftOut)
}

function reportOf(
  { runs }: LiveBenchOptions,
  found: Pick<LiveReport, 'machine' | 'generations' | 'crowds'> & { memory: MemoryMeasurement; disks: DiskSeries[] },
  samples: FloorSample[],
  leftOut: string[],
): LiveReport {
  const { machine, generations, crowds, disks } = found
  const memory = found.memory.series
  const crossOvers = crossOversOf(memory)
  const summed = <T extends { samples: Record<string, number>[] }>(series: T) => ({
    ...series,
    summary: summarizeAll(series.samples),
  })
  return {
    benchmark: 'fork-live',
    machine,
    runs,
    floor: { samples, summary: summarizeAll(samples) },
    memory: memory.map(summed),
    disks: disks.map(summed),
    generations,
    crowds,
    ...(crossOvers === undefined ? {} : { crossOvers }),
    leftOut,
    verdicts: judgeLive({ memory, disks, generations, crowds }),
  }
}

/** Starts a daemon in a directory, and with it what all measurements need. */
async function withTools<T>(
  { signal, say }: LiveBenchOptions,
  dir: string,
  floorSamples: FloorSample[],
  use: (tools: LiveTools, hasReflink: boolean) => Promise<T>,
): Promise<T> {
  say(`starting a daemon in ${dir}`)
  const daemon = await startScratchDaemon(signal, dir)
  try {
    const load = await buildGuestLoad(daemon.scratchDir)
    const { ramet } = daemon
    const { checks } = await ramet.doctor()
    await ramet.images.build({ recipe: 'micro', onProgress: ({ message }) => message && say(message) })
    const bare: LiveTools = { daemon, load, runFloor: async () => {}, signal, say }
    const template = await makeTemplate(bare, 'floor', { memoryBytes: memoryFor(0) })
    const child = await forkOne(template)
    const specimen = await readSpecimen(child, daemon.dataDir)
    await child.pause()
    const runFloor = async () => {
      const armed = await armFloor(specimen, await mkdtemp(join(daemon.scratchDir, 'floor-')), signal)
      try {
        floorSamples.push(await armed.fork())
      } finally {
        await armed.end()
      }
    }
    const hasReflink = checks.some(({ id, verdict }) => id === 'reflink' && verdict === 'ok')
    return await use({ ...bare, runFloor }, hasReflink)
  } finally {
    say('cleaning up')
    const left = await daemon.close()
    for (const line of left) say(`still there: ${line}`)
  }
}
