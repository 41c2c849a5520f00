import { constants } from 'node:os'
import { RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import type { WaitOptions } from './deadline.ts'
import { need } from './guest-error.ts'
import type { AgentSession } from './session.ts'
import type { Fields } from './wire/field-table.ts'

/** How a process ended: by `exit` or by a signal. */
export type ExitStatus = { readonly exitCode: number } | { readonly signal: number; readonly signalName: string }

export interface ProcessInfo {
  /** agent's number, never reused in a guest's life, kept by forks */
  readonly processId: number
  readonly pid: number
  readonly args: readonly string[]
  readonly tag: string
  readonly state: 'running' | 'exited'
  /** wall clock of the guest, nanoseconds */
  readonly startedNs: bigint
  readonly exit: ExitStatus | undefined
  readonly terminal: boolean
  readonly detached: boolean
  readonly attached: boolean
  /** bytes that went through each channel so far: input accepted, output written */
  readonly offsets: { readonly stdin: number; readonly stdout: number; readonly stderr: number }
}

const flag = { terminal: 1, detached: 2, wholeGroup: 16, attached: 32 } as const

/** All processes that the agent knows: running, and ended in the last hour. */
export async function listProcesses(session: AgentSession, options?: WaitOptions): Promise<ProcessInfo[]> {
  const answer = await session.request('proc.list', {}, options)
  return (answer.entry ?? []).map(readProcess)
}

/**
 * Resolves when the process has ended, at once if it has.
 *
 * @param options `timeoutMs` defaults to the longest time a VM may live
 * @throws RametError `GUEST_REFUSED` (`ESRCH`) when the agent does not know it
 */
export async function waitForProcess(
  session: AgentSession,
  processId: number,
  options: WaitOptions = {},
): Promise<ExitStatus> {
  const timeoutMs = options.timeoutMs ?? limits.timerMaxMs
  const answer = await session.request('proc.wait', { processId }, { ...options, timeoutMs })
  return need(readExit(answer), 'exitCode')
}

/**
 * @param signal a number, or a name such as `SIGTERM`
 * @param options `wholeGroup` sends it to the process's group
 */
export async function signalProcess(
  session: AgentSession,
  processId: number,
  signal: number | string,
  options: WaitOptions & { wholeGroup?: boolean } = {},
): Promise<void> {
  const flags = options.wholeGroup ? flag.wholeGroup : 0
  await session.request('proc.signal', { processId, signal: signalNumber(signal), flags }, options)
}

/** Tells the process's terminal its new size. */
export async function resizeTerminal(
  session: AgentSession,
  processId: number,
  size: { columns: number; rows: number },
  options?: WaitOptions,
): Promise<void> {
  await session.request('proc.resize', { processId, columns: size.columns, rows: size.rows }, options)
}

/** Drops the record and the kept output of an ended process. */
export async function forgetProcess(session: AgentSession, processId: number, options?: WaitOptions): Promise<void> {
  await session.request('proc.forget', { processId }, options)
}

/** @throws RametError `INVALID_ARGUMENT` for a name that Linux does not have */
export function signalNumber(signal: number | string): number {
  if (typeof signal === 'number') return signal
  const number = new Map<string, number>(Object.entries(constants.signals)).get(signal)
  if (number === undefined) throw new RametError('INVALID_ARGUMENT', { message: `there is no signal “${signal}”` })
  return number
}

export function readExit(fields: Fields): ExitStatus | undefined {
  if (fields.signal !== undefined) return { signal: fields.signal, signalName: signalName(fields.signal) }
  return fields.exitCode === undefined ? undefined : { exitCode: fields.exitCode }
}

function signalName(signal: number): string {
  for (const [name, number] of Object.entries(constants.signals)) if (number === signal) return name
  return `signal ${signal}`
}

function readProcess(entry: Fields): ProcessInfo {
  const flags = entry.flags ?? 0
  return {
    processId: need(entry.processId, 'processId'),
    pid: entry.pid ?? 0,
    args: entry.arg ?? [],
    tag: entry.tag ?? '',
    state: entry.state === 'exited' ? 'exited' : 'running',
    startedNs: entry.startedNs ?? 0n,
    exit: readExit(entry),
    terminal: (flags & flag.terminal) !== 0,
    detached: (flags & flag.detached) !== 0,
    attached: (flags & flag.attached) !== 0,
    offsets: {
      stdin: entry.stdinOffset ?? 0,
      stdout: entry.stdoutOffset ?? 0,
      stderr: entry.stderrOffset ?? 0,
    },
  }
}
