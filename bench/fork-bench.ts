import { startScratchDaemon } from '../tools/scratch-daemon.ts'
import { type Churn, measureChurn } from './churn.ts'
import { type Crowd, measureCrowd } from './crowd.ts'
import { type ForkSamples, forkOne, measureForks, type RunTools } from './fork-runs.ts'
import { type IdleMemory, measureIdleMemory } from './idle-memory.ts'
import { type MachineFacts, machineFacts } from './machine-facts.ts'
import { readSpecimen } from './specimen.ts'
import { type Summary, summarizeAll } from './summary.ts'
import { judge, type Verdict } from './verdicts.ts'

export interface ForkBenchOptions {
  image: 'micro' | 'debian'
  /** runs of each kind */
  count: number
  /** children to make by one request; 1 for none */
  children: number
  /** forks and removals one after the other; 0 for none */
  churn: number
  /** children to look at when they have been idle */
  idleChildren: number
  idleMs: number
  signal: AbortSignal
  /** progress, a line each */
  say(text: string): void
}

export interface ForkReport {
  benchmark: 'fork'
  image: string
  machine: MachineFacts
  samples: ForkSamples
  summary: Record<keyof ForkSamples, Record<string, Summary>>
  idle: IdleMemory[]
  crowd?: Crowd
  churn?: Churn
  verdicts: Verdict[]
}

/** Measures forks beside the floor and a cold boot of the same image, by a daemon of its own that is gone afterwards. */
export async function benchFork(options: ForkBenchOptions): Promise<ForkReport> {
  const { image, count, signal, say } = options
  say('starting a daemon')
  const daemon = await startScratchDaemon(signal)
  try {
    const { ramet } = daemon
    const host = await ramet.host()
    const machine = await machineFacts(host.accelerator)
    await ramet.images.build({ recipe: image, onProgress: ({ message }) => message && say(message) })
    say(`booting ${image} and making a template of it`)
    const parent = await ramet.vms.create({ image })
    const { template } = await ramet.templates.create({ from: 'vm', vm: parent.id, name: 'bench' })
    const child = await forkOne(template)
    const specimen = await readSpecimen(child, daemon.dataDir)
    await child.pause()
    const tools: RunTools = { daemon, template, specimen, image, signal, say }
    const samples = await measureForks(tools, count)
    const idle = await measureIdleMemory(tools, options.idleChildren, options.idleMs)
    const crowd = options.children > 1 ? await measureCrowd(tools, options.children) : undefined
    const churn = options.churn > 0 ? await measureChurn(tools, options.churn) : undefined
    const extra = { ...(crowd === undefined ? {} : { crowd }), ...(churn === undefined ? {} : { churn }) }
    const summary = {
      floor: summarizeAll(samples.floor),
      fork: summarizeAll(samples.fork),
      coldBoot: summarizeAll(samples.coldBoot),
    }
    const verdicts = judge({ image, stages: summary, idle, ...extra })
    return { benchmark: 'fork', image, machine, samples, summary, idle, ...extra, verdicts }
  } finally {
    say('cleaning up')
    await daemon.close()
  }
}
