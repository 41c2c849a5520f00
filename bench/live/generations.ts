import { join } from 'node:path'
import type { Template, Vm } from '../../src/client/index.ts'
import { formatBytes } from '../../src/shared/limits.ts'
import { forkOne } from '../fork-runs.ts'
import { untilAtRest } from './at-rest.ts'
import { type ChainReads, compareChains } from './chain-reads.ts'
import { forkLive, onlyChild } from './fork-call.ts'
import { clusterBytes, fillMemory, scatterDisk, spreadClusters } from './guest-load.ts'
import { type LiveTools, MiB, makeTemplate, memoryFor } from './tools.ts'

/** Fork of a fork of a fork: one curve over the generations. */
export interface GenerationCurve {
  /** constant: each generation writes the same memory and disk clusters again · growing: more each time, and others */
  workingSet: 'constant' | 'growing'
  memoryBytes: number
  generations: Generation[]
  /** 4 KiB random reads of the disk of the last generation, the first, and a naive chain with the same data */
  reads: ChainReads
}

export interface Generation {
  number: number
  /** memory that was written in its parent just before the fork */
  filledBytes: number
  /** files under its disk at rest, its own included */
  depth: number
  /** from the fork's answer until it was at rest, milliseconds */
  restMs: number
  diskBytes: number
  privateBytes: number
  /** stages, milliseconds */
  timings: Record<string, number>
}

const constantBytes = 32 * MiB
const growthBytes = 4 * MiB
/** a power of two, with which the stride of the spreading has no divisor in common */
export const spreadClusterCount = 4096
const writtenClusterCount = 64

/** What generation `number` writes before it is forked. */
export function writesOf(workingSet: GenerationCurve['workingSet'], number: number) {
  const isConstant = workingSet === 'constant'
  return {
    memoryBytes: isConstant ? constantBytes : number * growthBytes,
    firstCluster: isConstant ? 0 : (number - 1) * writtenClusterCount,
    byte: (number % 255) + 1,
  }
}

export async function measureGenerations(tools: LiveTools, count: number): Promise<GenerationCurve[]> {
  const memoryBytes = memoryFor(Math.max(constantBytes, count * growthBytes))
  const diskBytes = spreadClusterCount * clusterBytes
  tools.say(`generations: filling a disk of ${formatBytes(diskBytes)}`)
  const template = await makeTemplate(tools, 'generations', { memoryBytes, diskBytes, diskBaseBytes: diskBytes })
  const curves: GenerationCurve[] = []
  for (const workingSet of ['constant', 'growing'] as const)
    curves.push(await measureCurve(tools, template, { workingSet, count, memoryBytes }))
  return curves
}

async function measureCurve(
  tools: LiveTools,
  template: Template,
  curve: { workingSet: GenerationCurve['workingSet']; count: number; memoryBytes: number },
): Promise<GenerationCurve> {
  const { workingSet, count, memoryBytes } = curve
  const generations: Generation[] = []
  let vm = await forkOne(template)
  let first: Vm | undefined
  for (let number = 1; number <= count; number += 1) {
    await tools.runFloor()
    const writes = writesOf(workingSet, number)
    await fillMemory(vm, writes.memoryBytes, number)
    await scatterDisk(vm, spreadClusterCount, writtenClusterCount, writes.firstCluster, writes.byte)
    const fork = await forkLive(tools, vm)
    const child = onlyChild(fork)
    const { disk, restMs } = await untilAtRest(tools, child)
    const { memory } = await child.stats()
    generations.push({
      number,
      filledBytes: writes.memoryBytes,
      depth: disk.chainDepth,
      restMs,
      diskBytes: disk.privateBytes,
      privateBytes: memory.privateBytes,
      timings: fork.timings,
    })
    // Of the first only the disk is wanted any more; of the others nothing.
    if (number === 2) {
      await untilAtRest(tools, vm)
      await vm.kill()
    } else await vm.remove()
    if (number === 1) first = child
    vm = child
    if (number % 10 === 0) tools.say(`generations, ${workingSet}: ${number} of ${count}`)
  }
  await vm.kill()
  const diskOf = ({ id }: Vm) => join(tools.daemon.dataDir, 'vms', id, 'disk0.qcow2')
  const reads = await compareChains(tools, {
    firstPath: diskOf(first ?? vm),
    lastPath: diskOf(vm),
    writes: generations.map(({ number }) => {
      const { firstCluster, byte } = writesOf(workingSet, number)
      return { clusters: spreadClusters(spreadClusterCount, writtenClusterCount, firstCluster), byte }
    }),
    sizeBytes: spreadClusterCount * clusterBytes,
  })
  await vm.remove()
  if (first !== undefined && first !== vm) await first.remove()
  return { workingSet, memoryBytes, generations, reads }
}
