import type { VmStats } from '../../src/api/stats.ts'
import type { Vm } from '../../src/client/index.ts'
import { type LiveTools, pass } from './tools.ts'

/** files under a disk that stands on its base and nothing else */
const restDepth = 2
const lookMs = 50
const mostMs = 300_000

/**
 * Waits until the disk of a vm stands on its base alone: what it read from a delta of its parent it has brought into
 * its own then. One that does not get there is left as it is, and its depth tells.
 */
export async function untilAtRest(tools: LiveTools, vm: Vm): Promise<{ disk: VmStats['disk']; restMs: number }> {
  const startMs = performance.now()
  for (;;) {
    const { disk } = await vm.stats()
    const restMs = performance.now() - startMs
    if (disk.chainDepth <= restDepth || restMs > mostMs) return { disk, restMs }
    await pass(tools, lookMs)
  }
}
