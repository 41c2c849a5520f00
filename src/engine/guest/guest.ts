import { AgentLink } from '../../agent/link.ts'
import { bootSchedule, type OpeningSchedule } from '../../agent/opening.ts'
import type { AgentSession } from '../../agent/session.ts'
import type { ProcessIdentity } from '../../host/process-identity.ts'
import type { Clock } from '../../shared/clock.ts'
import { asRametError, RametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import type { Log } from '../../shared/log.ts'

export interface GuestOptions {
  /** unix socket of the agent's port */
  socketPath: string
  /** the QEMU that the socket belongs to */
  qemu: ProcessIdentity
  /** for messages; asked each time, since an armed child gets its name later */
  vmName: () => string
  clock: Clock
  log: Log
  /** makes a session fit for use before anybody gets it: a guest that has rebooted needs its identity again */
  prepare: (session: AgentSession) => Promise<void>
}

/**
 * The agent of a running vm. Whoever needs it asks for `session()` and gets the one that is open, or the
 * next one: a session that is lost (the guest reboots, its port hangs up) is opened again by itself.
 */
export class Guest {
  readonly #options: GuestOptions
  readonly #link: AgentLink
  readonly #closing = new AbortController()
  #current: Promise<AgentSession> | undefined
  #opening: Promise<AgentSession> | undefined

  constructor(options: GuestOptions) {
    this.#options = options
    this.#link = new AgentLink({ path: options.socketPath, peer: options.qemu, clock: options.clock, log: options.log })
  }

  /** Connects to a QEMU that has no guest yet. @throws RametError `AGENT_LINK_LOST` */
  connectAhead(): Promise<void> {
    return this.#link.connect(this.#closing.signal)
  }

  /**
   * Opens the first session, which the caller prepares and then hands over with `publish`.
   *
   * @throws RametError `GUEST_UNREACHABLE`, `AGENT_LINK_LOST`, `AGENT_PROTOCOL`, or the signal's reason
   */
  async open(schedule: OpeningSchedule, timeoutMs: number, signal?: AbortSignal): Promise<AgentSession> {
    const either = signal === undefined ? this.#closing.signal : AbortSignal.any([signal, this.#closing.signal])
    return this.#link.openSession({ schedule, timeoutMs, signal: either })
  }

  publish(session: AgentSession): void {
    this.#current = Promise.resolve(session)
    void session.closed.then((error) => this.#reopen(error.message))
  }

  /** Opens sessions by itself from now on: for a guest that an earlier daemon started. */
  connect(): void {
    this.#take()
  }

  /**
   * The machine was reset: whoever had a session has lost it, although the connection stands, and the next
   * one is opened as the guest boots. One reboot resets several times.
   */
  reset(): void {
    if (this.#current !== undefined) this.#reopen('the guest was reset')
  }

  /** The open session, without waiting. */
  get openSession(): AgentSession | undefined {
    return this.#link.session
  }

  /**
   * The session that is open, or the one that is being opened.
   *
   * @param timeoutMs for the latter, default `limits.linkConnectTimeoutMs`
   * @throws RametError `GUEST_UNREACHABLE` when none opens in time, or the signal's reason
   */
  async session(signal?: AbortSignal, timeoutMs: number = limits.linkConnectTimeoutMs): Promise<AgentSession> {
    if (this.#current === undefined) throw unreachable(this.#options.vmName())
    const timeout = AbortSignal.timeout(timeoutMs)
    const either = signal === undefined ? timeout : AbortSignal.any([signal, timeout])
    const stopped = Promise.withResolvers<never>()
    const onAbort = () => stopped.reject(signal?.aborted ? signal.reason : unreachable(this.#options.vmName()))
    either.addEventListener('abort', onAbort, { once: true })
    try {
      return await Promise.race([this.#current, stopped.promise])
    } finally {
      either.removeEventListener('abort', onAbort)
      stopped.promise.catch(() => {})
    }
  }

  close(): void {
    this.#closing.abort(new RametError('AGENT_LINK_LOST', { message: 'the guest link was closed' }))
    this.#link.close()
  }

  #reopen(reason: string): void {
    if (this.#closing.signal.aborted || this.#opening !== undefined) return
    const { log, vmName } = this.#options
    log.info({ vm: vmName(), reason }, 'guest session lost; opening another')
    this.#take()
  }

  #take(): void {
    const opening = this.#openPrepared()
    opening.catch(() => {})
    this.#opening = opening
    this.#current = opening
    opening.then(
      (session) => {
        this.#opening = undefined
        // It may have been lost while this was still counted as opening.
        if (!session.open) this.#reopen('lost as soon as it was open')
      },
      () => {
        this.#opening = undefined
      },
    )
  }

  async #openPrepared(): Promise<AgentSession> {
    const { clock, log, prepare, vmName } = this.#options
    for (;;) {
      try {
        const session = await this.open(bootSchedule, limits.guestBootTimeoutMs)
        await prepare(session)
        void session.closed.then((error) => this.#reopen(error.message))
        return session
      } catch (error) {
        if (this.#closing.signal.aborted) throw error
        log.warn({ vm: vmName(), reason: asRametError(error).message }, 'guest agent not reached; trying again')
        await clock.sleep(limits.linkRetryMs, this.#closing.signal)
      }
    }
  }
}

function unreachable(vmName: string): RametError {
  return new RametError('GUEST_UNREACHABLE', { message: `the guest agent of ${vmName} does not answer` })
}
