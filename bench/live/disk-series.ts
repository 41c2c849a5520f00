import { formatBytes } from '../../src/shared/limits.ts'
import { untilAtRest } from './at-rest.ts'
import { forkLive, onlyChild } from './fork-call.ts'
import { fillDisk } from './guest-load.ts'
import { runsFor } from './memory-series.ts'
import { type LiveTools, MiB, makeTemplate, withParent } from './tools.ts'

/** Forks of one parent with little memory of its own, and one disk with one delta. */
export interface DiskSeries {
  /** type of the file system under the data directory */
  fileSystem: string
  hasReflink: boolean
  /** what was written in the guest */
  askedBytes: number
  /** room that the parent's delta took before each fork */
  deltaBytes: number[]
  /** stages, milliseconds; `restMs` from the answer until the child's disk stands on its base alone */
  samples: Record<string, number>[]
}

const memoryBytes = 256 * MiB
/** written before the disk becomes a base, so that there is one */
const baseBytes = 16 * MiB

export async function measureDisks(
  tools: LiveTools,
  where: { fileSystem: string; hasReflink: boolean },
  options: { deltas: readonly number[]; runs: number },
): Promise<DiskSeries[]> {
  if (options.deltas.length === 0) return []
  const found: DiskSeries[] = []
  const diskBytes = Math.max(...options.deltas) + baseBytes
  const template = await makeTemplate(tools, 'disks', { memoryBytes, diskBytes, diskBaseBytes: baseBytes })
  for (const askedBytes of options.deltas) {
    await withParent(template, async (parent) => {
      tools.say(`disks on ${where.fileSystem}: writing ${formatBytes(askedBytes)}`)
      await fillDisk(parent, baseBytes, askedBytes, 2)
      const series: DiskSeries = { ...where, askedBytes, deltaBytes: [], samples: [] }
      for (let run = 0; run < runsFor(askedBytes, options.runs); run += 1) {
        tools.signal.throwIfAborted()
        await tools.runFloor()
        // What it lent to the child before is its own again.
        series.deltaBytes.push((await untilAtRest(tools, parent)).disk.privateBytes)
        const fork = await forkLive(tools, parent)
        await using child = onlyChild(fork)
        const { restMs } = await untilAtRest(tools, child)
        series.samples.push({ ...fork.timings, restMs })
      }
      found.push(series)
    })
  }
  return found
}
