import { randomBytes } from 'node:crypto'
import type { ProcessIdentity } from '../host/process-identity.ts'
import { type Clock, systemClock } from '../shared/clock.ts'
import { asRametError, RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import { type Log, silentLog } from '../shared/log.ts'
import { startDeadline, type WaitOptions } from './deadline.ts'
import { bootSchedule, Opening, type OpeningSchedule, type VersionRange } from './opening.ts'
import { AgentSession } from './session.ts'
import { Transport } from './transport.ts'

/**
 * `idle` never connected · `connecting` · `opening` waits for the agent's answer · `open` has a session ·
 * `lost` connection or session over, another may be opened · `closed` by us, for good
 */
export type LinkState = 'idle' | 'connecting' | 'opening' | 'open' | 'lost' | 'closed'

export interface AgentLinkOptions {
  /** unix socket of QEMU's character device */
  path: string
  /** the QEMU that must be the one that listens there; whoever does when left out */
  peer?: ProcessIdentity
  clock?: Clock
  random?: (bytes: number) => Buffer
  log?: Log
  /** protocol versions to offer; for tests */
  versions?: VersionRange
  onState?: (state: LinkState) => void
}

export interface OpenSessionOptions extends WaitOptions {
  /** when to repeat the opening while nobody answers: `bootSchedule` (default) or `resumeSchedule` */
  schedule?: OpeningSchedule
}

/** The host's end of one guest's link: at most one connection, and at most one session on it. */
export class AgentLink {
  readonly path: string
  readonly #peer: ProcessIdentity | undefined
  readonly #clock: Clock
  readonly #random: (bytes: number) => Buffer
  readonly #log: Log
  readonly #versions: VersionRange
  readonly #onState: (state: LinkState) => void
  #state: LinkState = 'idle'
  #transport: Transport | undefined
  #opening: Opening | undefined
  #session: AgentSession | undefined

  constructor(options: AgentLinkOptions) {
    this.path = options.path
    this.#peer = options.peer
    this.#clock = options.clock ?? systemClock
    this.#random = options.random ?? randomBytes
    this.#log = options.log ?? silentLog
    this.#versions = options.versions ?? { versionMin: 1, versionMax: 2 }
    this.#onState = options.onState ?? (() => {})
  }

  get state(): LinkState {
    return this.#state
  }

  /** The open session, if there is one. */
  get session(): AgentSession | undefined {
    return this.#session?.open ? this.#session : undefined
  }

  /**
   * Opens a session, over a new connection unless one stands. A session open before ends with `AGENT_LINK_LOST`.
   *
   * @param options `timeoutMs` defaults to `limits.linkConnectTimeoutMs`
   * @throws RametError `GUEST_UNREACHABLE` when nobody answers in time, `AGENT_LINK_LOST` when there is no connection
   *   or it ends, `AGENT_PROTOCOL` when no common version exists or the answer makes no sense, `CANCELLED`,
   *   `ILLEGAL_STATE` while another opening is under way or after `close`
   */
  async openSession(options: OpenSessionOptions = {}): Promise<AgentSession> {
    if (this.#state === 'closed' || this.#state === 'connecting' || this.#state === 'opening') {
      throw new RametError('ILLEGAL_STATE', { message: `the guest link is ${this.#state}` })
    }
    const { signal, timeoutMs = limits.linkConnectTimeoutMs, schedule = bootSchedule } = options
    using deadline = startDeadline(this.#clock, { signal, timeoutMs }, () => unreachable(timeoutMs))
    this.#session?.end(new RametError('AGENT_LINK_LOST', { message: 'a newer session replaced this one' }))
    this.#session = undefined
    try {
      this.#enter('connecting')
      const transport = await this.#connect(deadline.signal)
      this.#enter('opening')
      return await this.#open(transport, schedule, deadline.signal)
    } catch (error) {
      this.#drop(asRametError(error))
      throw error
    }
  }

  /**
   * Connects ahead of the first session. A guest whose state is loaded after it finds its host as connected as it
   * was when that state was saved, and is spared the news of a host that went and came back.
   *
   * @throws RametError `AGENT_LINK_LOST`, or the signal's reason
   */
  async connect(signal: AbortSignal): Promise<void> {
    this.#enter('connecting')
    try {
      await this.#connect(signal)
      this.#enter('idle')
    } catch (error) {
      this.#drop(asRametError(error))
      throw error
    }
  }

  /** Closes connection and session; the guest goes on, and keeps what its processes write. */
  close(): void {
    this.#enter('closed')
    this.#drop(new RametError('AGENT_LINK_LOST', { message: 'the guest link was closed' }))
  }

  async #connect(signal: AbortSignal): Promise<Transport> {
    if (this.#transport !== undefined) return this.#transport
    let transport: Transport | undefined
    transport = await Transport.connect(
      this.path,
      {
        onBytes: (chunk) => this.#takeBytes(chunk),
        onClosed: (error) => {
          if (this.#transport === transport) this.#drop(error)
        },
      },
      { signal, peer: this.#peer },
    )
    if (this.#state === 'closed') {
      transport.close()
      throw new RametError('AGENT_LINK_LOST', { message: 'the guest link was closed' })
    }
    this.#transport = transport
    return transport
  }

  async #open(transport: Transport, schedule: OpeningSchedule, signal: AbortSignal): Promise<AgentSession> {
    let session: AgentSession | undefined
    const opening = new Opening(transport, {
      versions: this.#versions,
      features: [],
      clock: this.#clock,
      random: this.#random,
      onFrame: (frame) => session?.takeFrame(frame),
      onWelcome: (welcome) => {
        session = new AgentSession(transport, welcome, this.#clock)
        this.#session = session
        this.#enter('open')
      },
    })
    this.#opening = opening
    const welcome = await opening.run(schedule, signal)
    if (session === undefined || !session.open) {
      throw new RametError('AGENT_LINK_LOST', { message: 'the session ended as soon as it began' })
    }
    this.#log.debug({ path: this.path, version: welcome.version, generation: welcome.generation }, 'agent session open')
    return session
  }

  #takeBytes(chunk: Buffer): void {
    try {
      this.#opening?.takeBytes(chunk)
    } catch (error) {
      // A hostile or broken guest loses its connection, and nothing else happens.
      const failure = asRametError(error)
      this.#log.warn({ path: this.path, code: failure.code }, failure.message)
      this.#drop(failure)
    }
  }

  #drop(error: RametError): void {
    const transport = this.#transport
    this.#transport = undefined
    this.#opening?.fail(error)
    this.#opening = undefined
    this.#session?.end(error)
    this.#session = undefined
    transport?.close()
    if (this.#state !== 'closed') this.#enter('lost')
  }

  #enter(state: LinkState): void {
    if (state === this.#state) return
    this.#state = state
    this.#onState(state)
  }
}

function unreachable(timeoutMs: number): RametError {
  return new RametError('GUEST_UNREACHABLE', {
    message: `the guest agent did not answer within ${Math.round(timeoutMs)} ms`,
  })
}
