/** How long a vm takes to start, all its memory at once, where a cache has filled the memory of the host. The host is a control group. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmdirSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { type Hierarchy, prepareHierarchies, readHostCgroups } from '../../src/host/cgroup-hierarchies.ts'
import { openCgroups } from '../../src/host/cgroups.ts'
import { type Summary, summarize } from '../summary.ts'

const MiB = 1024 * 1024
export const vmBytes = 400 * MiB
export const hostBytes = 620 * MiB
const cacheBytes = 400 * MiB
/** what QEMU needs beside the memory of its guest */
const vmmBytes = 64 * MiB

type Cache = 'none' | 'kernel' | 'lru'
/**
 * When the cache hears of the start. `untold`: never, so that the kernel has to take what it may; `ahead`: it gave back before
 * what the vm needs, as a reserve does that is kept free; `within`: it gives that back as part of the start
 */
type Notice = 'untold' | 'ahead' | 'within'

/** A plain cache that nobody tells is measured apart: it costs somebody his life. */
const plans = {
  empty: { cache: 'none', notice: 'untold' },
  kernel: { cache: 'kernel', notice: 'untold' },
  'kernel-ahead': { cache: 'kernel', notice: 'ahead' },
  'kernel-within': { cache: 'kernel', notice: 'within' },
  'lru-ahead': { cache: 'lru', notice: 'ahead' },
  'lru-within': { cache: 'lru', notice: 'within' },
} as const satisfies Record<string, { cache: Cache; notice: Notice }>
export type StartArm = keyof typeof plans
const arms = Object.keys(plans) as StartArm[]

export interface VmStarts {
  /** from the spawn of QEMU, or the word to the cache within the start, to its greeting: its memory is all there then */
  startMs: Record<StartArm, Summary>
  samplesMs: Record<StartArm, number[]>
  /** medians, over the empty host's */
  overEmpty: Record<StartArm, number>
  /** of the cache, what it held before and after, medians */
  heldBytes: Record<StartArm, { before: number; after: number }>
  /** what came of a start beside a plain cache that nobody told: `started`, or who was killed */
  untold: string
}

/** @returns undefined where no limit on memory can be set */
export async function measureStarts(runs: number, signal: AbortSignal): Promise<VmStarts | undefined> {
  const hierarchies = prepareHierarchies(readHostCgroups(), `ramet-bench-${process.pid}`)
  const memory = hierarchies.find(({ controllers }) => controllers.includes('memory'))
  const hosts: Host[] = []
  try {
    if (memory === undefined) return undefined
    for (const arm of arms) hosts.push(await Host.open(arm, hierarchies, memory))
    const samples = byArm(() => [] as number[])
    const before = byArm(() => [] as number[])
    const after = byArm(() => [] as number[])
    for (let run = -1; run < runs; run += 1) {
      for (const host of hosts) {
        signal.throwIfAborted()
        const held = await host.ask('fill')
        const startedMs = await host.startVm()
        if (run < 0) continue
        samples[host.arm].push(startedMs)
        before[host.arm].push(held)
        after[host.arm].push(await host.ask('count'))
      }
    }
    const startMs = byArm((arm) => summarize(samples[arm]))
    return {
      ...{ startMs, samplesMs: samples, untold: await startUntold(hosts) },
      overEmpty: byArm((arm) => startMs[arm].p50 / startMs.empty.p50),
      heldBytes: byArm((arm) => ({ before: summarize(before[arm]).p50, after: summarize(after[arm]).p50 })),
    }
  } finally {
    for (const host of hosts) await host.close()
    for (const { directory } of hierarchies) rmdirSync(directory)
  }
}

const byArm = <T>(make: (arm: StartArm) => T) =>
  Object.fromEntries(arms.map((arm) => [arm, make(arm)])) as Record<StartArm, T>

/** Last of all, since it may cost the cache its process. */
async function startUntold(hosts: readonly Host[]): Promise<string> {
  const host = hosts.find(({ arm }) => arm === 'lru-within')
  if (host === undefined) return 'not tried'
  await host.ask('fill')
  try {
    await host.startVm('untold')
    return host.isAlive ? 'started' : 'the process of the cache was killed'
  } catch {
    return host.isAlive ? 'QEMU was killed' : 'the process of the cache and QEMU were killed'
  }
}

class Host {
  readonly arm: StartArm
  readonly #driver: ReturnType<typeof openCgroups>
  readonly #procs: string
  readonly #holder: ChildProcess
  readonly #lines: AsyncIterator<string>
  readonly #reader: Interface

  private constructor(arm: StartArm, driver: ReturnType<typeof openCgroups>, procs: string, holder: ChildProcess) {
    this.arm = arm
    this.#driver = driver
    this.#procs = procs
    this.#holder = holder
    if (holder.stdout === null) throw new Error('the cache has no output')
    this.#reader = createInterface({ input: holder.stdout })
    this.#lines = this.#reader[Symbol.asyncIterator]()
  }

  static async open(arm: StartArm, hierarchies: Hierarchy[], memory: Hierarchy): Promise<Host> {
    const driver = openCgroups({ hierarchies })
    driver.create(arm, { memoryMaxBytes: hostBytes })
    const procs = join(memory.directory, arm, 'cgroup.procs')
    const program = fileURLToPath(new URL('./cache-holder.ts', import.meta.url))
    const holder = spawnWithin(procs, process.execPath, [program, plans[arm].cache, String(cacheBytes)])
    const host = new Host(arm, driver, procs, holder)
    await host.ask('count')
    return host
  }

  get isAlive(): boolean {
    return this.#holder.exitCode === null && this.#holder.signalCode === null
  }

  async ask(command: string): Promise<number> {
    this.#holder.stdin?.write(`${command}\n`)
    const { value, done } = await this.#lines.next()
    if (done) throw new Error(`the cache of ${this.arm} has ended`)
    return Number(value)
  }

  async startVm(notice: Notice = plans[this.arm].notice): Promise<number> {
    const lacking = vmBytes + vmmBytes + (this.#driver.usage(this.arm).memoryBytes ?? 0) - hostBytes
    const giveBack = `give ${Math.max(0, lacking)}`
    if (notice === 'ahead') await this.ask(giveBack)
    const startMs = performance.now()
    if (notice === 'within') await this.ask(giveBack)
    const size = `${vmBytes / MiB}M`
    const memory = `memory-backend-ram,id=ram,size=${size},prealloc=on`
    const machine = 'q35,accel=tcg,memory-backend=ram'
    const args = ['-nodefaults', '-display', 'none', '-S', '-qmp', 'stdio', '-object', memory]
    const vm = spawnWithin(this.#procs, 'qemu-system-x86_64', [...args, '-machine', machine, '-m', size])
    const exited = once(vm, 'exit')
    try {
      const greeting = vm.stdout === null ? Promise.reject(new Error('no output')) : once(vm.stdout, 'data')
      await Promise.race([greeting, exited.then(() => Promise.reject(new Error('QEMU ended before its greeting')))])
      return performance.now() - startMs
    } finally {
      vm.kill('SIGKILL')
      await exited
    }
  }

  async close(): Promise<void> {
    const exited = this.isAlive ? once(this.#holder, 'exit') : undefined
    this.#holder.kill('SIGKILL')
    await exited
    this.#reader.close()
    await this.#driver.remove(this.arm)
  }
}

/** A process that is in the group before its first instruction, so that all its memory is charged there. */
function spawnWithin(procs: string, program: string, args: readonly string[]): ChildProcess {
  const child = spawn('/bin/sh', ['-c', 'echo $$ > "$0" && exec "$@"', procs, program, ...args], {
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  // Writing to one that was killed is told by its exit.
  child.stdin.on('error', () => {})
  return child
}
