import { closeSync } from 'node:fs'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { type ProcessIdentity, signalProcess, waitForExit } from '../host/process-identity.ts'
import type { DetachedProcess, ProcessUser, SpawnDetached } from '../host/spawn-detached.ts'
import { offerUserfaultfd, type UserfaultfdLoan, type UserfaultfdOffer } from '../host/userfaultfd.ts'
import { RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import { inheritedFds, machineArguments, machineFiles } from './machine.ts'
import type { MachineDescription, MachineSeat } from './machine-description.ts'
import { logTail, openLog } from './qemu-log.ts'
import type { QmpClient } from './qmp.ts'
import { connectQmp } from './qmp-connect.ts'

export interface StartOptions {
  /** directory of the vm, owned by its user; QEMU's working directory */
  readonly dir: string
  readonly machine: MachineDescription
  readonly seat: MachineSeat
  /** runs as this user; left out: as the daemon's own */
  readonly user?: ProcessUser
  /** descriptor of the base, when the seat's memory is one */
  readonly memoryFd?: number
  readonly spawn: SpawnDetached
  /** default that of this process */
  readonly offerUserfaultfd?: () => Promise<UserfaultfdOffer>
  /** default `qemu-system-x86_64` */
  readonly binary?: string
  readonly signal?: AbortSignal
  /** told of the process before anything else can fail: the journal's chance */
  readonly onSpawn?: (identity: ProcessIdentity) => void
}

/** Our end of a socket that QEMU reads migration state from. */
export type IncomingStream = Readable & Writable

/** How a QEMU ended; both undefined when another daemon had started it. */
export interface QemuExit {
  readonly exitCode?: number
  readonly signal?: NodeJS.Signals
}

/** Run states that matter here, out of QEMU's list. */
export type RunState = 'running' | 'paused' | 'inmigrate' | 'shutdown' | 'guest-panicked' | (string & {})

/** What each QEMU is lent, so that it can be captured in the background. */
export const offerToQemu = () => offerUserfaultfd(inheritedFds.userfaultfd)

/** One running QEMU that this daemon talks to. */
export class QemuProcess {
  readonly identity: ProcessIdentity
  readonly dir: string
  readonly qmp: QmpClient
  /** our end of descriptor 3; only in the daemon that started an incoming QEMU */
  readonly incoming: IncomingStream | undefined
  /** settles when the process has ended; never rejects; stays open for ever after `release` */
  readonly ended: Promise<QemuExit>
  readonly #watch: AbortController

  constructor(parts: {
    identity: ProcessIdentity
    dir: string
    qmp: QmpClient
    incoming: IncomingStream | undefined
    ended: Promise<QemuExit>
    watch: AbortController
  }) {
    this.identity = parts.identity
    this.dir = parts.dir
    this.qmp = parts.qmp
    this.incoming = parts.incoming
    this.ended = parts.ended
    this.#watch = parts.watch
  }

  /** Asks QEMU itself; what a restarted daemon trusts instead of events. */
  async runState(): Promise<RunState> {
    const { status } = await this.qmp.execute<{ status: string }>('query-status')
    return status
  }

  /** Lets go of a process that shall run on: closes QMP and stops watching. */
  release(): void {
    this.#watch.abort()
    this.incoming?.destroy()
    this.qmp.close()
  }

  /** Ends QEMU in order (disks are flushed and closed), or by force when that takes too long. */
  async quit(timeoutMs: number = limits.qmpTimeoutMs): Promise<QemuExit> {
    try {
      await this.qmp.execute('quit', undefined, { timeoutMs })
    } catch {
      // It may have gone before it answered, or hang: either way what follows settles it.
    }
    const timer = setTimeout(() => signalProcess(this.identity, 'SIGKILL'), timeoutMs)
    const exit = await this.ended
    clearTimeout(timer)
    this.#closeStreams()
    return exit
  }

  /** Ends QEMU at once. The disk deltas are as after a power cut. */
  async kill(): Promise<QemuExit> {
    signalProcess(this.identity, 'SIGKILL')
    const exit = await this.ended
    this.#closeStreams()
    return exit
  }

  /** A VMM_FAILED with the last lines of this QEMU's log. */
  failure(message: string, cause?: unknown): RametError {
    return vmmFailed(this.dir, message, cause)
  }

  #closeStreams(): void {
    this.incoming?.destroy()
    this.qmp.close()
  }
}

/**
 * Starts a QEMU and waits until it answers on QMP; its guest does not run yet.
 *
 * @throws RametError `VMM_FAILED` with the end of its log when it dies first; what the spawner throws;
 *   or the signal's reason, the process then being ended
 */
export async function startQemu(options: StartOptions): Promise<QemuProcess> {
  const { dir, seat } = options
  const lent = await (options.offerUserfaultfd ?? offerToQemu)()
  const loan = 'why' in lent ? undefined : lent
  const logFd = openLog(dir)
  let spawned: DetachedProcess
  try {
    spawned = await options.spawn({
      command: options.binary ?? 'qemu-system-x86_64',
      args: machineArguments(options.machine, seat),
      cwd: dir,
      stdio: ['ignore', logFd, logFd, seat.incoming ? 'pipe' : 'ignore', memoryEntry(options), ...entriesOf(loan)],
      ...(loan && { env: { LD_PRELOAD: `/proc/self/fd/${inheritedFds.library}` } }),
      ...(options.user && { user: options.user }),
    })
  } finally {
    closeSync(logFd)
  }
  const { identity } = spawned
  try {
    options.onSpawn?.(identity)
    return await attach({
      identity,
      dir,
      incoming: spawned.streams[inheritedFds.incoming],
      spawned,
      signal: options.signal,
    })
  } catch (error) {
    signalProcess(identity, 'SIGKILL')
    await waitForExit(identity)
    throw error
  }
}

/**
 * Takes over a QEMU that an earlier daemon started. Events have been missed: ask `runState`.
 *
 * @throws RametError `VMM_FAILED` when it has ended
 */
export function adoptQemu(identity: ProcessIdentity, dir: string, signal?: AbortSignal): Promise<QemuProcess> {
  return attach({ identity, dir, incoming: undefined, spawned: undefined, signal })
}

interface Attachment {
  identity: ProcessIdentity
  dir: string
  incoming: IncomingStream | undefined
  spawned: DetachedProcess | undefined
  signal: AbortSignal | undefined
}

async function attach({ identity, dir, incoming, spawned, signal }: Attachment): Promise<QemuProcess> {
  const watch = new AbortController()
  const ended = watchEnd(identity, spawned, watch.signal)
  const died = new AbortController()
  const markDead = (exit: QemuExit) => died.abort(vmmFailed(dir, `QEMU ended before it answered${describe(exit)}`))
  ended.then(markDead, markDead)
  // A write to a QEMU that has just died is no news: `ended` and QMP tell.
  incoming?.on('error', () => {})
  try {
    const either = signal ? AbortSignal.any([signal, died.signal]) : died.signal
    const qmp = await connectQmp(join(dir, machineFiles.qmp), { signal: either, peer: identity })
    return new QemuProcess({ identity, dir, qmp, incoming, ended, watch })
  } catch (error) {
    incoming?.destroy()
    // A QEMU that dies with its QMP open is seen by the socket first; its end says more.
    if (error instanceof RametError && error.details.lost === true) throw vmmFailed(dir, describe(await ended), error)
    watch.abort()
    throw error
  }
}

async function watchEnd(
  identity: ProcessIdentity,
  spawned: DetachedProcess | undefined,
  signal: AbortSignal,
): Promise<QemuExit> {
  try {
    await waitForExit(identity, signal)
  } catch (error) {
    if (signal.aborted) return await new Promise<never>(() => {})
    throw error
  }
  if (spawned === undefined) return {}
  const { child } = spawned
  if (child.exitCode === null && child.signalCode === null) {
    child.ref()
    await new Promise((resolve) => child.once('exit', resolve))
  }
  return {
    ...(child.exitCode !== null && { exitCode: child.exitCode }),
    ...(child.signalCode !== null && { signal: child.signalCode }),
  }
}

function entriesOf(loan: UserfaultfdLoan | undefined): number[] {
  return loan === undefined ? [] : [loan.deviceFd, loan.libraryFd]
}

function memoryEntry(options: StartOptions): number | 'ignore' {
  const wantsBase = options.seat.memory.kind === 'base'
  if (wantsBase !== (options.memoryFd !== undefined))
    throw new RametError('INVALID_ARGUMENT', { message: 'a base comes with a descriptor, fresh memory without' })
  return options.memoryFd ?? 'ignore'
}

function vmmFailed(dir: string, message: string, cause?: unknown): RametError {
  const log = logTail(dir)
  const last = log.at(-1)
  return new RametError('VMM_FAILED', {
    message: last === undefined ? message : `${message}: ${last}`,
    cause,
    details: { log },
  })
}

function describe(exit: QemuExit): string {
  if (exit.signal !== undefined) return ` (signal ${exit.signal})`
  return exit.exitCode === undefined ? '' : ` (exit code ${exit.exitCode})`
}
