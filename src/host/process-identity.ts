/** Who a process is, in a way that survives a recycled pid and a reboot. */
import { closeSync, readFileSync } from 'node:fs'
import { errnoOf, RametError } from '../shared/errors.ts'
import { openPidfd, pidfdExit, sendSignal } from './pidfd.ts'

/** Stored as plain JSON in the journal. */
export interface ProcessIdentity {
  readonly pid: number
  /** clock ticks from boot to the process's start, field 22 of `/proc/PID/stat` */
  readonly startTime: number
  /** `/proc/sys/kernel/random/boot_id` of the boot it belongs to */
  readonly bootId: string
}

/** Whether what the journal stored is an identity: an entry that was not held yet says something else, or nothing. */
export function isIdentity(ident: unknown): ident is ProcessIdentity {
  return typeof ident === 'object' && ident !== null && 'pid' in ident && 'startTime' in ident && 'bootId' in ident
}

export interface ProcessStat {
  /** one letter as in proc(5); `Z` and `X` have ended */
  state: string
  parentPid: number
  /** clock ticks since boot */
  startTime: number
  /** CPU time used so far, in user and kernel mode */
  cpuMs: number
  /** whether somebody sits at a terminal that controls it */
  hasTerminal: boolean
}

/** Linux shows times in ticks of 10 ms on all machines Ramet runs on. */
const tickMs = 10

let cachedBootId: string | undefined

/** The id of this boot of the host. */
export function bootId(): string {
  cachedBootId ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  return cachedBootId
}

/** Parses `/proc/PID/stat`; the command in parentheses may itself hold blanks and parentheses. */
export function parseStat(text: string): ProcessStat {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const [state = '', parentPid = ''] = fields
  const startTime = Number(fields[19])
  if (!Number.isSafeInteger(startTime)) {
    throw new RametError('INTERNAL', { message: `unreadable process status: ${text.slice(0, 120)}` })
  }
  return {
    state,
    parentPid: Number(parentPid),
    startTime,
    cpuMs: (Number(fields[11]) + Number(fields[12])) * tickMs,
    hasTerminal: Number(fields[4]) !== 0,
  }
}

/** Undefined when there is no such process. */
export function readStat(pid: number): ProcessStat | undefined {
  try {
    return parseStat(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ESRCH') return undefined
    throw error
  }
}

/** The identity of a process that runs now; undefined when there is none, or only its zombie. */
export function identify(pid: number): ProcessIdentity | undefined {
  const stat = readStat(pid)
  if (stat === undefined || hasEnded(stat)) return undefined
  return { pid, startTime: stat.startTime, bootId: bootId() }
}

export function isRunning(identity: ProcessIdentity): boolean {
  if (identity.bootId !== bootId()) return false
  const stat = readStat(identity.pid)
  return stat !== undefined && !hasEnded(stat) && stat.startTime === identity.startTime
}

/**
 * Sends a signal to this very process, never to a later one of the same pid.
 *
 * @returns false when it has ended already
 * @throws RametError `PRIVILEGE`
 */
export function signalProcess(identity: ProcessIdentity, signal: NodeJS.Signals): boolean {
  const pidfd = openVerified(identity)
  if (pidfd === undefined) return false
  try {
    sendSignal(pidfd, signal)
    return true
  } catch (error) {
    if (errnoOf(error) === 'ESRCH') return false
    if (errnoOf(error) === 'EPERM') {
      const message = `no permission to send ${signal} to process ${identity.pid}`
      throw new RametError('PRIVILEGE', { message, cause: error })
    }
    throw error
  } finally {
    closeSync(pidfd)
  }
}

/**
 * Resolves when the process has ended, whoever its parent is; at once if it already has.
 *
 * @throws the signal's reason when aborted
 */
export async function waitForExit(identity: ProcessIdentity, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted()
  const pidfd = openVerified(identity)
  if (pidfd !== undefined) await pidfdExit(pidfd, signal)
}

/** The descriptor is opened first and the identity checked after: from then on the pid cannot be reused unnoticed. */
function openVerified(identity: ProcessIdentity): number | undefined {
  let pidfd: number
  try {
    pidfd = openPidfd(identity.pid)
  } catch (error) {
    if (errnoOf(error) === 'ESRCH' || errnoOf(error) === 'EINVAL') return undefined
    throw error
  }
  if (isRunning(identity)) return pidfd
  closeSync(pidfd)
  return undefined
}

function hasEnded(stat: ProcessStat): boolean {
  return stat.state === 'Z' || stat.state === 'X'
}
