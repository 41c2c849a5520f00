/**
 * The control group that the user networks of all VMs run in, and the packet filter on it. The kernel keeps
 * it while a process is in it, counts those for us, and ends the filter with the group.
 */
import { closeSync, mkdirSync, openSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Clock, systemClock } from '../shared/clock.ts'
import { errnoOf, RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import { attachEgressFilter, loadPacketFilter } from './bpf.ts'
import { type Finding, fine, slow } from './finding.ts'
import { egressProgram } from './packet-filter.ts'
import { findProgram } from './probe-storage.ts'
import { identify } from './process-identity.ts'

export const networkGroupName = 'ramet-network'

/** Another daemon may remove the empty group between its making and its use. */
const attempts = 3

const remedy = 'Use `--network isolated`, and published ports to reach the guest; see docs/security.md.'

/** Directory of the version 2 hierarchy, which may be mounted beside version 1. */
function hierarchy(mounts = readFileSync('/proc/self/mounts', 'utf8')): string {
  for (const line of mounts.split('\n')) {
    const [, directory = '', type] = line.split(' ')
    if (type === 'cgroup2') return directory
  }
  throw new RametError('HOST_UNFIT', {
    message: 'no control groups of version 2 are mounted, which the filter of user networks needs',
    remediation: `Mount them: mount -t cgroup2 none /sys/fs/cgroup/unified. Or: ${remedy}`,
  })
}

/**
 * Puts a process into the group and then makes sure that the filter is on: from its return on, every socket
 * that the process makes is filtered. Sockets it made before are not.
 *
 * @throws RametError `PRIVILEGE` when the daemon is not root, `HOST_UNFIT` when the kernel refuses
 */
export function confineNetwork(pid: number, name = networkGroupName): void {
  requireRoot()
  const directory = join(hierarchy(), name)
  try {
    enter(directory, pid)
    attach(directory)
  } catch (error) {
    throw new RametError('HOST_UNFIT', {
      message: 'the kernel takes no packet filter for user networks',
      remediation: `See \`ramet doctor\`. Or: ${remedy}`,
      cause: error,
    })
  }
}

/** Whether a process is in the group still. */
export function inNetworkGroup(pid: number, name = networkGroupName): boolean {
  try {
    return readFileSync(`/proc/${pid}/cgroup`, 'utf8').split('\n').includes(`0::/${name}`)
  } catch {
    return false
  }
}

/**
 * Takes the group away when nobody is in it; else leaves it, without complaint. A process that has ended holds
 * its group a moment longer, which nothing announces: then it is tried again, a bounded number of times.
 */
export async function removeNetworkGroup(name = networkGroupName, clock: Clock = systemClock): Promise<void> {
  if (process.geteuid?.() !== 0) return
  try {
    const directory = join(hierarchy(), name)
    for (let attempt = 0; attempt < limits.cgroupRemoveAttempts; attempt += 1) {
      if (removed(directory) || isUsed(directory)) return
      await clock.sleep(limits.cgroupRemovePauseMs)
    }
  } catch (error) {
    // Gone meanwhile, or no such hierarchy; a group that cannot be removed does no harm.
    if (!(error instanceof RametError) && !['ENOENT', 'ENODEV'].includes(errnoOf(error) ?? '')) throw error
  }
}

/** One that has ended is still listed for a moment. */
function isUsed(directory: string): boolean {
  const members = readFileSync(join(directory, 'cgroup.procs'), 'utf8').split('\n')
  return members.some((pid) => pid !== '' && identify(Number(pid)) !== undefined)
}

function removed(directory: string): boolean {
  try {
    rmdirSync(directory)
    return true
  } catch (error) {
    if (errnoOf(error) === 'EBUSY') return false
    throw error
  }
}

/** @throws RametError `PRIVILEGE`: a process can only be filtered for good by one with more rights than it has */
export function requireRoot(): void {
  if (process.geteuid?.() === 0) return
  throw new RametError('PRIVILEGE', {
    message: 'the network `user` needs a daemon that runs as root: without it nothing would keep guests off this host',
    remediation: `Run the daemon as root. Or: ${remedy}`,
  })
}

/** Tries the filter on a group of its own. */
export function userNetworkFinding(): Finding {
  const name = 'user-network'
  if (findProgram('passt') === undefined)
    return slow(name, 'passt is not installed: the network `user` is refused', 'Run: apt-get install passt')
  try {
    requireRoot()
    const directory = join(hierarchy(), `${networkGroupName}-probe-${process.pid}`)
    mkdirSync(directory)
    try {
      attach(directory)
    } finally {
      rmdirSync(directory)
    }
    return fine(name, 'guests on `user` networks are kept off this host by a packet filter on their control group')
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    return slow(name, `the network \`user\` is refused: ${why}`, remedyOf(error))
  }
}

const remedyOf = (error: unknown) =>
  error instanceof RametError ? error.remediation : `Use a kernel with CONFIG_CGROUP_BPF. Or: ${remedy}`

function enter(directory: string, pid: number): void {
  for (let attempt = 1; ; attempt += 1) {
    mkdirSync(directory, { recursive: true })
    try {
      writeFileSync(join(directory, 'cgroup.procs'), String(pid), { flag: 'r+' })
      return
    } catch (error) {
      if (attempt === attempts || !['ENOENT', 'ENODEV'].includes(errnoOf(error) ?? '')) throw error
    }
  }
}

function attach(directory: string): void {
  const programFd = loadPacketFilter(egressProgram())
  try {
    const groupFd = openSync(directory, 'r')
    try {
      attachEgressFilter(groupFd, programFd)
    } finally {
      closeSync(groupFd)
    }
  } finally {
    closeSync(programFd)
  }
}
