import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ScratchDaemon } from '../tools/scratch-daemon.ts'
import { forkOne, type RunTools, untilArmed } from './fork-runs.ts'

const lookCount = 10
const lookPauseMs = 100

export interface Belongings {
  /** processes that work in the data directory or were started with it */
  processes: number
  /** descriptors that the daemon has open */
  descriptors: number
  /** files, directories and sockets in the data directory */
  files: number
}

export interface Churn {
  forks: number
  before: Belongings
  after: Belongings
}

/** Forks and removes children one after the other, and counts what there is before and after. */
export async function measureChurn(tools: RunTools, forkCount: number): Promise<Churn> {
  const { template, daemon, signal, say } = tools
  await untilArmed(template, template.info.armed, signal)
  const before = await settledBelongings(daemon, signal)
  for (let index = 0; index < forkCount; index += 1) {
    signal.throwIfAborted()
    const child = await forkOne(template)
    await child.remove()
    if ((index + 1) % 20 === 0) say(`${index + 1} of ${forkCount} forks and removals`)
  }
  await untilArmed(template, template.info.armed, signal)
  return { forks: forkCount, before, after: await settledBelongings(daemon, signal) }
}

/** The least of several looks: connections of questions just answered are still being closed during the first. */
async function settledBelongings({ pid, dataDir }: ScratchDaemon, signal: AbortSignal): Promise<Belongings> {
  const looks: Belongings[] = []
  while (looks.length < lookCount) {
    looks.push(belongingsOf(pid, dataDir))
    await sleep(lookPauseMs, undefined, { signal })
  }
  const least = (what: keyof Belongings) => Math.min(...looks.map((look) => look[what]))
  return { processes: least('processes'), descriptors: least('descriptors'), files: least('files') }
}

function belongingsOf(daemonPid: number, dataDir: string): Belongings {
  return {
    processes: readdirSync('/proc').filter((entry) => /^\d+$/.test(entry) && belongsTo(entry, dataDir)).length,
    descriptors: readdirSync(`/proc/${daemonPid}/fd`).length,
    files: readdirSync(dataDir, { recursive: true }).length,
  }
}

function belongsTo(pid: string, dataDir: string): boolean {
  try {
    return (
      readlinkSync(`/proc/${pid}/cwd`).startsWith(dataDir) ||
      readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(dataDir)
    )
  } catch {
    // It has ended meanwhile.
    return false
  }
}
