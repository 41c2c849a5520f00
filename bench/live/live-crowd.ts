import type { Template, Vm } from '../../src/client/index.ts'
import { forkOne } from '../fork-runs.ts'
import { quantile } from '../summary.ts'
import { forkLive, type LiveFork } from './fork-call.ts'
import { fillMemory, startWork } from './guest-load.ts'
import { type Slowdown, slowdownOf } from './ticks.ts'
import { type LiveTools, MiB, makeTemplate, memoryFor, pass, withParent } from './tools.ts'
import { availableBytes, newBaseBytes, nonZeroBytes, weigh } from './weigh.ts'

/** Many children of one running parent by one request. */
export interface LiveCrowd {
  asked: number
  /** memory of its own that the parent had */
  deltaBytes: number
  /** the parent wrote all the while */
  writing: CrowdFork & { slowdown: Slowdown }
  /** it did not: what the children weigh is theirs alone */
  atRest: CrowdFork & { memory: CrowdMemory }
}

export interface CrowdFork {
  made: number
  failures: string[]
  /** which way the daemon chose, and why, as it says it */
  capture: Record<string, unknown>
  /** from the request to its answer, with all children ready */
  wallMs: number
  timings: Record<string, number>
  /** each child's stages */
  childTimings: Record<string, number>[]
}

/** When nothing had been asked of anybody for a while. */
export interface CrowdMemory {
  /** how long, milliseconds */
  idleMs: number
  /** of all children together, QEMU's own included */
  privateBytes: number
  /** bases that were made for them */
  newBaseBytes: number
  /** the two above */
  addedBytes: number
  /** by the kernel's account of what is left; all else on the machine is in it too */
  availableDropBytes: number
  /** shared pages divided among those that map them */
  proportionalBytes: number
  /** of the parent's memory; undefined where it may not be looked into */
  nonZeroBytes: number | undefined
  /** private memory of an idle child of the parent's template, median of several */
  idleChildBytes: number
}

const deltaBytes = 100 * MiB
const aroundMs = 5000
const idleMs = 10_000
const idleChildCount = 5
const floorCount = 5

export async function measureCrowds(tools: LiveTools, counts: readonly number[]): Promise<LiveCrowd[]> {
  if (counts.length === 0) return []
  for (let run = 0; run < floorCount; run += 1) await tools.runFloor()
  const template = await makeTemplate(tools, 'crowd', { memoryBytes: memoryFor(deltaBytes) })
  const idleChildBytes = await measureIdleChild(tools, template)
  const crowds: LiveCrowd[] = []
  for (const asked of counts) {
    const crowd = await withParent(template, async (parent) => {
      await fillMemory(parent, deltaBytes, 1)
      const { memory } = await parent.stats()
      const writing = await forkWriting(tools, parent, asked)
      const atRest = await forkAtRest(tools, parent, asked, idleChildBytes)
      return { asked, deltaBytes: memory.privateBytes, writing, atRest }
    })
    crowds.push(crowd)
  }
  return crowds
}

async function measureIdleChild(tools: LiveTools, template: Template): Promise<number> {
  tools.say(`letting ${idleChildCount} children be for ${idleMs / 1000} s`)
  await using children = new AsyncDisposableStack()
  const pids: number[] = []
  for (let index = 0; index < idleChildCount; index += 1) pids.push(pidOf(children.use(await forkOne(template))))
  await pass(tools, idleMs)
  return quantile(
    pids.map((pid) => weigh([pid]).privateBytes),
    0.5,
  )
}

async function forkWriting(tools: LiveTools, parent: Vm, count: number): Promise<LiveCrowd['writing']> {
  await using work = await startWork(parent, deltaBytes)
  await pass(tools, aroundMs)
  tools.say(`forking ${count} children at once of a parent that writes`)
  return await withCrowd(tools, parent, count, async (fork) => {
    await pass(tools, aroundMs + 200)
    return { slowdown: slowdownOf(work.ticks, fork, aroundMs) }
  })
}

async function forkAtRest(
  tools: LiveTools,
  parent: Vm,
  count: number,
  idleChildBytes: number,
): Promise<LiveCrowd['atRest']> {
  const basesBefore = new Set(weigh([pidOf(parent)]).bases.keys())
  const availableBefore = availableBytes()
  tools.say(`forking ${count} children at once of a parent at rest, and letting them be for ${idleMs / 1000} s`)
  return await withCrowd(tools, parent, count, async ({ children }) => {
    await pass(tools, idleMs)
    const weight = weigh(children.map(pidOf))
    const baseBytes = newBaseBytes(weight.bases, basesBefore)
    const memory = {
      idleMs,
      privateBytes: weight.privateBytes,
      newBaseBytes: baseBytes,
      addedBytes: weight.privateBytes + baseBytes,
      availableDropBytes: availableBefore - availableBytes(),
      proportionalBytes: weight.proportionalBytes,
      nonZeroBytes: await nonZeroBytes(pidOf(parent), parent.info.memoryBytes),
      idleChildBytes,
    }
    return { memory }
  })
}

/** Forks, looks, and removes the children. */
async function withCrowd<T>(
  tools: LiveTools,
  parent: Vm,
  count: number,
  look: (fork: LiveFork) => Promise<T>,
): Promise<CrowdFork & T> {
  const fork = await forkLive(tools, parent, { count })
  const { children, failures, capture, timings, childTimings } = fork
  try {
    const seen = await look(fork)
    return {
      made: children.length,
      failures,
      capture,
      wallMs: fork.endMs - fork.startMs,
      timings,
      childTimings,
      ...seen,
    }
  } finally {
    for (const child of children) await child.remove()
  }
}

function pidOf({ info, name }: Vm): number {
  if (info.pid === undefined) throw new Error(`${name} has no process`)
  return info.pid
}
