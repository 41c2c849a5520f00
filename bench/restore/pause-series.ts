import { startScratchDaemon } from '../../tools/scratch-daemon.ts'
import { forkLive, onlyChild, type Way, WayUnavailable, ways } from '../live/fork-call.ts'
import { buildGuestLoad, fillMemory, startWork } from '../live/guest-load.ts'
import { type LiveTools, MiB, makeTemplate, memoryFor, withParent } from '../live/tools.ts'

/** How long a guest that writes all the time stands still for a snapshot, and for a fork, in turn; milliseconds. */
export interface PauseSeries {
  /** how its memory is captured */
  way: Way
  /** that it writes, and so what differs from its base */
  deltaBytes: number
  snapshotMs: number[]
  forkMs: number[]
}

const deltaBytes = 100 * MiB

export interface PauseOptions {
  /** snapshots and forks of each way; 0 for none */
  runs: number
  dir?: string
  signal: AbortSignal
  say(text: string): void
}

/** By a daemon of its own that is gone afterwards. A way that this host does not have is left out, and why is told. */
export async function measurePauses({ runs, dir, signal, say }: PauseOptions): Promise<PauseSeries[]> {
  if (runs === 0) return []
  say('pauses: starting a daemon')
  const daemon = await startScratchDaemon(signal, dir)
  try {
    await daemon.ramet.images.build({ recipe: 'micro', onProgress: ({ message }) => message && say(message) })
    const load = await buildGuestLoad(daemon.scratchDir)
    const tools: LiveTools = { daemon, load, runFloor: async () => {}, signal, say }
    const template = await makeTemplate(tools, 'pauses', { memoryBytes: memoryFor(deltaBytes) })
    const found: PauseSeries[] = []
    for (const way of ways) {
      try {
        found.push(await measureWay(tools, template, way, runs))
      } catch (error) {
        if (!(error instanceof WayUnavailable)) throw error
        say(`pauses, ${way}: not available: ${error.message}`)
      }
    }
    return found
  } finally {
    await daemon.close()
  }
}

async function measureWay(
  tools: LiveTools,
  template: Parameters<typeof withParent>[0],
  way: Way,
  runs: number,
): Promise<PauseSeries> {
  const series: PauseSeries = { way, deltaBytes, snapshotMs: [], forkMs: [] }
  await withParent(template, async (parent) => {
    await fillMemory(parent, deltaBytes, 1)
    await using _work = await startWork(parent, deltaBytes)
    for (let run = 0; run < runs; run += 1) {
      tools.say(`pauses, ${way}: run ${run + 1} of ${runs}`)
      const fork = await forkLive(tools, parent, { way })
      await onlyChild(fork).remove()
      series.forkMs.push(fork.timings.pauseMs ?? Number.NaN)
      const snapshot = await parent.snapshot({ capture: way })
      series.snapshotMs.push(snapshot.info.timings?.pauseMs ?? Number.NaN)
      await snapshot.remove()
    }
  })
  return series
}
