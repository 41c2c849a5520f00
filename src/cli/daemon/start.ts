import { spawn } from 'node:child_process'
import { closeSync, fstatSync, mkdirSync, openSync, readSync } from 'node:fs'
import { dirname, join } from 'node:path'
import process from 'node:process'
import { localError } from '../../client/errors.ts'
import { socketFileName } from '../../client/settings.ts'
import { errorTable, exitCodes, RametError } from '../../shared/errors.ts'
import { askReadiness, nextChange } from './ready.ts'
import { daemonPid } from './stop.ts'

export interface StartOptions {
  dataDirectory: string
  /** program of the daemon, run by this Node */
  program: string
  signal: AbortSignal
  /** how long it may take to serve, milliseconds */
  timeoutMs?: number
  /** told once a daemon has been started by this call */
  onStarted?: (pid: number, logPath: string) => void
  env?: NodeJS.ProcessEnv
}

const startTimeoutMs = 60_000
const lookAgainMs = 250
const logTailBytes = 16 * 1024
const logTailLines = 12

/**
 * Makes sure that a daemon serves a data directory. Two that do this at once start two daemons, of which
 * one gets the lock and the other exits; both callers then find the one that is left.
 *
 * @throws RametApiError `DAEMON_UNREACHABLE` with the end of its log when it does not come up
 */
export async function ensureDaemon(options: StartOptions): Promise<void> {
  const { dataDirectory, signal } = options
  signal.throwIfAborted()
  const socketPath = join(dataDirectory, socketFileName)
  const first = await askReadiness(socketPath)
  if (first === 'ready') return
  prepareDirectory(dataDirectory)
  const child = first === 'absent' ? spawnDaemon(options) : undefined
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(options.timeoutMs ?? startTimeoutMs)])
  try {
    for (;;) {
      // Watched from before the question on, so that what happens in between is not missed.
      const change = nextChange(dataDirectory, lookAgainMs, deadline)
      change.catch(() => {})
      const state = await askReadiness(socketPath)
      if (state === 'ready') break
      await Promise.race([change, child?.ended ?? change])
      if (child?.exit !== undefined && child.exit !== errorTable.DAEMON_RUNNING.exitCode) throw died(child)
    }
  } catch (error) {
    signal.throwIfAborted()
    if (deadline.aborted) throw tooSlow(dataDirectory)
    throw error
  }
  // Of two that were started at once, the one that lost may not have ended yet.
  if (child !== undefined && daemonPid(dataDirectory) === child.pid) options.onStarted?.(child.pid, child.logPath)
}

interface Started {
  pid: number
  logPath: string
  /** status it exited with, if it has */
  exit: number | undefined
  ended: Promise<void>
}

function spawnDaemon(options: StartOptions): Started {
  const logPath = join(options.dataDirectory, 'daemon.log')
  const log = openSync(logPath, 'a', 0o600)
  try {
    const child = spawn(process.execPath, [options.program, '--data-dir', options.dataDirectory], {
      detached: true,
      stdio: ['ignore', log, log],
      cwd: '/',
      env: options.env ?? process.env,
    })
    const started: Started = { pid: child.pid ?? 0, logPath, exit: undefined, ended: Promise.resolve() }
    started.ended = new Promise((resolve) => {
      child.once('exit', (code) => {
        started.exit = code ?? exitCodes.error
        resolve()
      })
      child.once('error', () => {
        started.exit = exitCodes.error
        resolve()
      })
    })
    child.unref()
    return started
  } finally {
    closeSync(log)
  }
}

function prepareDirectory(dataDirectory: string): void {
  try {
    mkdirSync(dirname(dataDirectory), { recursive: true })
    mkdirSync(dataDirectory, { mode: 0o711 })
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'EEXIST') return
    throw new RametError('PRIVILEGE', {
      message: `the data directory ${dataDirectory} cannot be made`,
      cause,
      remediation: 'Run it as root, or name another directory with --data-dir or RAMET_DATA_DIR.',
    })
  }
}

function died(child: Started) {
  const said = lastWord(tail(child.logPath))
  if (said !== undefined)
    return localError('DAEMON_UNREACHABLE', `the daemon could not start: ${said.msg}`, {
      remediation: said.remediation,
      details: { logPath: child.logPath },
    })
  return localError('DAEMON_UNREACHABLE', `the daemon ended with status ${child.exit} before it could serve`, {
    remediation: `Its log is ${child.logPath}; \`ramet serve\` runs it in the foreground.`,
    details: { logPath: child.logPath, logLines: tail(child.logPath) },
  })
}

interface LastWord {
  msg: string
  remediation: string
}

/** What a daemon that gave up said last: a line of its log, as JSON. */
function lastWord(lines: readonly string[]): LastWord | undefined {
  try {
    const said: unknown = JSON.parse(lines.at(-1) ?? '')
    const isWord = typeof said === 'object' && said !== null && 'msg' in said && 'remediation' in said
    return isWord ? { msg: String(said.msg), remediation: String(said.remediation) } : undefined
  } catch {
    return undefined
  }
}

function tooSlow(dataDirectory: string) {
  const logPath = join(dataDirectory, 'daemon.log')
  return localError('DAEMON_UNREACHABLE', 'the daemon was started but does not serve yet', {
    remediation: `Look at ${logPath}, or call again in a moment.`,
    details: { logPath, logLines: tail(logPath) },
  })
}

function tail(path: string): string[] {
  try {
    const file = openSync(path, 'r')
    try {
      const { size } = fstatSync(file)
      const buffer = Buffer.alloc(Math.min(size, logTailBytes))
      const length = readSync(file, buffer, 0, buffer.length, size - buffer.length)
      return buffer.toString('utf8', 0, length).trimEnd().split('\n').slice(-logTailLines)
    } finally {
      closeSync(file)
    }
  } catch {
    return []
  }
}
