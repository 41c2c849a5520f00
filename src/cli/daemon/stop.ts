import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { localError } from '../../client/errors.ts'
import { socketFileName } from '../../client/settings.ts'
import { RametError } from '../../shared/errors.ts'
import { askReadiness, nextChange } from './ready.ts'

const stopTimeoutMs = 30_000
const lookAgainMs = 100

/**
 * Ends the daemon of a data directory, by SIGTERM, and waits until it is gone. Its vms run on.
 *
 * @returns the pid that it had, or undefined when none ran
 * @throws RametApiError `TIMEOUT`; RametError `PRIVILEGE` when it is somebody else's
 */
export async function stopDaemon(
  dataDirectory: string,
  options: { signal: AbortSignal; timeoutMs?: number | undefined },
): Promise<number | undefined> {
  const pid = daemonPid(dataDirectory)
  if (pid === undefined || !(await isDaemon(pid, dataDirectory))) return undefined
  try {
    process.kill(pid, 'SIGTERM')
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ESRCH') return undefined
    throw new RametError('PRIVILEGE', {
      message: `the daemon (pid ${pid}) is not yours to stop`,
      cause,
      remediation: 'Stop it as the user who runs it, or as root.',
    })
  }
  const timeoutMs = options.timeoutMs ?? stopTimeoutMs
  const deadline = AbortSignal.any([options.signal, AbortSignal.timeout(timeoutMs)])
  try {
    while (isAlive(pid)) await nextChange(dataDirectory, lookAgainMs, deadline)
  } catch (error) {
    options.signal.throwIfAborted()
    if (deadline.aborted)
      throw localError('TIMEOUT', `the daemon (pid ${pid}) still runs after ${timeoutMs} ms`, {
        remediation: `Look at ${join(dataDirectory, 'daemon.log')}; \`kill -9 ${pid}\` is safe: the next daemon takes over.`,
      })
    throw error
  }
  return pid
}

/** The pid that the daemon has written down. */
export function daemonPid(dataDirectory: string): number | undefined {
  try {
    const identity: unknown = JSON.parse(readFileSync(join(dataDirectory, 'daemon.json'), 'utf8'))
    const pid =
      typeof identity === 'object' && identity !== null && 'pid' in identity ? Number(identity.pid) : Number.NaN
    return Number.isInteger(pid) && pid > 1 ? pid : undefined
  } catch {
    return undefined
  }
}

/** Pids are given again: only what looks like a daemon of Ramet is sent a signal. */
async function isDaemon(pid: number, dataDirectory: string): Promise<boolean> {
  if (!isAlive(pid)) return false
  let commandLine = ''
  try {
    commandLine = readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    return false
  }
  if (/server[/\\]main\.[jt]s/.test(commandLine)) return true
  return (await askReadiness(join(dataDirectory, socketFileName))) !== 'absent' && commandLine.includes(dataDirectory)
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    // A child that nobody waits for is dead all the same.
    return !/^State:\s*Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}
