import { mkdtemp } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Template, Vm } from '../src/client/index.ts'
import type { ScratchDaemon } from '../tools/scratch-daemon.ts'
import { armFloor, type FloorSample } from './floor.ts'
import type { Specimen } from './specimen.ts'

/** Milliseconds by stage. */
export type Sample = Record<string, number>

export interface ForkSamples {
  floor: FloorSample[]
  fork: Sample[]
  coldBoot: Sample[]
}

export interface RunTools {
  daemon: ScratchDaemon
  template: Template
  specimen: Specimen
  image: string
  signal: AbortSignal
  say(text: string): void
}

/** One of each in turn, so that whatever else the machine does in the meantime meets all three alike. */
export async function measureForks(tools: RunTools, count: number): Promise<ForkSamples> {
  const samples: ForkSamples = { floor: [], fork: [], coldBoot: [] }
  for (let run = 0; run < count; run += 1) {
    tools.signal.throwIfAborted()
    samples.floor.push(await runFloor(tools))
    samples.fork.push(await runFork(tools))
    samples.coldBoot.push(await runColdBoot(tools))
    const last = (list: readonly Sample[], stage: string) => list.at(-1)?.[stage]?.toFixed(1) ?? '-'
    tools.say(
      `run ${run + 1} of ${count}: floor ${last(samples.floor, 'runningMs')} ms, ` +
        `fork running ${last(samples.fork, 'runningMs')} ms, ready ${last(samples.fork, 'readyMs')} ms, ` +
        `cold boot ready ${last(samples.coldBoot, 'answeredMs')} ms`,
    )
  }
  return samples
}

async function runFloor({ specimen, daemon, signal }: RunTools): Promise<FloorSample> {
  const armed = await armFloor(specimen, await mkdtemp(join(daemon.scratchDir, 'floor-')), signal)
  try {
    return await armed.fork()
  } finally {
    await armed.end()
  }
}

async function runFork({ template, signal }: RunTools): Promise<Sample> {
  await untilArmed(template, 1, signal)
  const startMs = performance.now()
  await using child = await forkOne(template)
  const answeredMs = performance.now() - startMs
  const execStartMs = performance.now()
  await child.commands.run(['true'])
  const firstExecMs = performance.now() - execStartMs
  const againStartMs = performance.now()
  await child.commands.run(['true'])
  const secondExecMs = performance.now() - againStartMs
  return { ...stagesOf(child), answeredMs, firstExecMs, secondExecMs }
}

async function runColdBoot({ daemon, image }: RunTools): Promise<Sample> {
  const startMs = performance.now()
  await using vm = await daemon.ramet.vms.create({ image })
  const answeredMs = performance.now() - startMs
  return { ...stagesOf(vm), answeredMs }
}

export async function forkOne(template: Template): Promise<Vm> {
  const [child] = await template.fork()
  if (child instanceof Vm) return child
  throw child ?? new Error('a fork answered no child')
}

/** There is no event for it; nothing is measured meanwhile. */
export async function untilArmed(template: Template, count: number, signal: AbortSignal): Promise<void> {
  while ((await template.refresh()).armedCount < count) await sleep(20, undefined, { signal })
}

function stagesOf(vm: Vm): Sample {
  return Object.fromEntries(
    Object.entries(vm.info.timings ?? {}).flatMap(([stage, ms]) => (ms === undefined ? [] : [[stage, ms]])),
  )
}
