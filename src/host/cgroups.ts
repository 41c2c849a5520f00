/** A control group for each vm: limits on memory and CPU, and the word whether the kernel killed it. */
import { mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Clock, systemClock } from '../shared/clock.ts'
import { errnoOf, RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import { type Log, silentLog } from '../shared/log.ts'
import { type Controller, type Hierarchy, prepareHierarchies, readHostCgroups } from './cgroup-hierarchies.ts'
import { identify, type ProcessIdentity, signalProcess, waitForExit } from './process-identity.ts'

export interface CgroupLimits {
  /** guest RAM, QEMU's overhead, and the holes of the base that the vm may fill by touching them */
  memoryMaxBytes?: number
  /** CPU time per wall time, in cores, for example 0.5 */
  cpuCores?: number
}

export interface CgroupUsage {
  /** undefined where no memory controller is writable */
  memoryBytes?: number
  /** processes that the kernel killed for want of memory in this group */
  oomKillCount: number
}

export interface CgroupDriver {
  /** what is limited here; empty: nothing is */
  readonly controllers: readonly Controller[]
  /** one sentence for people */
  readonly finding: string
  /** Makes the group, or sets the limits of one that is there; those left out are lifted. Throws `INVALID_NAME`, errno errors. */
  create(name: string, limits: CgroupLimits): void
  /** Moves a process into the group; memory it has already stays charged where it was. Throws `ESRCH`. */
  add(name: string, pid: number): void
  usage(name: string): CgroupUsage
  /** names of all groups there are, to find those that nobody owns */
  list(): string[]
  /** Kills what is left in the group, waits until it is empty, removes it. Throws `TIMEOUT`. */
  remove(name: string, signal?: AbortSignal): Promise<void>
}

export interface OpenCgroupsOptions {
  /** name of the parent group */
  parent?: string
  hierarchies?: Hierarchy[]
  clock?: Clock
  /** told once when there is nothing to limit with */
  log?: Log
}

/** Finds out what this host offers. Never fails: where nothing is writable the driver does nothing, and says so. */
export function openCgroups(options: OpenCgroupsOptions = {}): CgroupDriver {
  const hierarchies = options.hierarchies ?? prepareHierarchies(readHostCgroups(), options.parent ?? 'ramet')
  const controllers = hierarchies.flatMap((hierarchy) => hierarchy.controllers)
  const finding = describe(hierarchies)
  if (controllers.length < 2) (options.log ?? silentLog).warn({ controllers }, finding)
  return {
    controllers,
    finding,
    create: (name, limits) => {
      for (const hierarchy of hierarchies) create(hierarchy, groupPath(hierarchy, name), limits)
    },
    add: (name, pid) => {
      for (const hierarchy of hierarchies) {
        writeFileSync(join(groupPath(hierarchy, name), 'cgroup.procs'), String(pid))
      }
    },
    usage: (name) => readUsage(hierarchies, name),
    list: () => [...new Set(hierarchies.flatMap(({ directory }) => listGroups(directory)))],
    remove: async (name, signal) => {
      for (const hierarchy of hierarchies) {
        await remove(groupPath(hierarchy, name), options.clock ?? systemClock, signal)
      }
    },
  }
}

function describe(hierarchies: readonly Hierarchy[]): string {
  if (hierarchies.length === 0) return 'no control group can be written: CPU and memory limits of VMs are not enforced'
  const parts = hierarchies.map(({ version, controllers }) => `${controllers.join(' and ')} (version ${version})`)
  return `limits are enforced for ${parts.join(', ')}`
}

function groupPath(hierarchy: Hierarchy, name: string): string {
  if (!/^[a-z0-9][a-z0-9-]*$/.test(name)) throw new RametError('INVALID_NAME', { message: `“${name}” names no group` })
  return join(hierarchy.directory, name)
}

const cpuPeriodUs = 100_000
const cpuQuotaMinUs = 1_000

function create(hierarchy: Hierarchy, path: string, wanted: CgroupLimits): void {
  mkdirSync(path, { recursive: true })
  const { memoryMaxBytes, cpuCores } = wanted
  const has = (controller: Controller) => hierarchy.controllers.includes(controller)
  const isV2 = hierarchy.version === 2
  const none = isV2 ? 'max' : '-1'
  const write = (file: string, value: string) => writeFileSync(join(path, file), value)
  if (has('memory')) write(isV2 ? 'memory.max' : 'memory.limit_in_bytes', String(memoryMaxBytes ?? none))
  if (!has('cpu')) return
  const quota = cpuCores === undefined ? none : String(Math.max(cpuQuotaMinUs, Math.round(cpuCores * cpuPeriodUs)))
  if (isV2) write('cpu.max', `${quota} ${cpuPeriodUs}`)
  else {
    write('cpu.cfs_period_us', String(cpuPeriodUs))
    write('cpu.cfs_quota_us', quota)
  }
}

function readUsage(hierarchies: readonly Hierarchy[], name: string): CgroupUsage {
  const hierarchy = hierarchies.find(({ controllers }) => controllers.includes('memory'))
  if (hierarchy === undefined) return { oomKillCount: 0 }
  const path = groupPath(hierarchy, name)
  const [usageFile, eventsFile] =
    hierarchy.version === 2 ? ['memory.current', 'memory.events'] : ['memory.usage_in_bytes', 'memory.oom_control']
  const kills = /^oom_kill (\d+)$/m.exec(readFileSync(join(path, eventsFile), 'utf8'))?.[1]
  return { memoryBytes: Number(readFileSync(join(path, usageFile), 'utf8')), oomKillCount: Number(kills ?? 0) }
}

function listGroups(directory: string): string[] {
  const entries = readdirSync(directory, { withFileTypes: true })
  return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name)
}

/**
 * The end of each member is an event; only the moment between that and the group being free is not (version 1
 * tells nobody), so there the removal itself is tried again, a bounded number of times.
 */
async function remove(path: string, clock: Clock, signal?: AbortSignal): Promise<void> {
  for (let attempt = 0; attempt < limits.cgroupRemoveAttempts; attempt += 1) {
    try {
      rmdirSync(path)
      return
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return
      if (errnoOf(error) !== 'EBUSY') throw error
    }
    const members = membersOf(path)
    for (const member of members) signalProcess(member, 'SIGKILL')
    await Promise.all(members.map((member) => waitForExit(member, signal)))
    if (members.length === 0) await clock.sleep(limits.cgroupRemovePauseMs, signal)
  }
  throw new RametError('TIMEOUT', { message: `control group ${path} does not become empty` })
}

function membersOf(path: string): ProcessIdentity[] {
  const lines = readFileSync(join(path, 'cgroup.procs'), 'utf8').split('\n')
  return lines.flatMap((line) => (line === '' ? [] : (identify(Number(line)) ?? [])))
}
