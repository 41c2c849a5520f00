import type { Clock } from '../shared/clock.ts'
import { RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import { race, startDeadline, type WaitOptions } from './deadline.ts'
import { guestRefused, unanswered } from './guest-error.ts'
import type { Welcome } from './opening.ts'
import { type FrameSink, LinkStream, type StreamShape } from './stream.ts'
import type { Transport } from './transport.ts'
import type { Fields } from './wire/field-table.ts'
import { decodeFields, encodeFields } from './wire/fields.ts'
import { badFrame, encodeHeader, type Frame, frameType, headerBytes } from './wire/frame.ts'

/** Operations that version 1 lacks. */
const sinceVersion2: ReadonlySet<string> = new Set(['watch', 'metrics', 'fs.freeze', 'fs.thaw'])
const enosys = 38

/** A conversation with the agent, from its welcome until the connection, or a newer session, ends it. */
export class AgentSession implements FrameSink {
  readonly welcome: Welcome
  readonly clock: Clock
  /** Why the session ended. Resolves, never rejects. */
  readonly closed: Promise<RametError>
  readonly #transport: Transport
  readonly #closed = Promise.withResolvers<RametError>()
  readonly #streams = new Map<number, LinkStream>()
  #nextStream = 1
  #strayBytesLeft: number = limits.linkStrayBytes
  #error: RametError | undefined

  constructor(transport: Transport, welcome: Welcome, clock: Clock) {
    this.#transport = transport
    this.welcome = welcome
    this.clock = clock
    this.closed = this.#closed.promise
  }

  get version(): number {
    return this.welcome.version
  }

  get open(): boolean {
    return this.#error === undefined
  }

  get streamCount(): number {
    return this.#streams.size
  }

  /**
   * Asks the agent for one thing.
   *
   * @param options `timeoutMs` defaults to `limits.linkRequestTimeoutMs`
   * @throws RametError `GUEST_REFUSED` with the errno's name, `AGENT_LINK_LOST`, `GUEST_UNREACHABLE` when no answer
   *   comes in time, `CANCELLED`, `INVALID_ARGUMENT` or `TOO_LARGE` for what cannot be sent
   */
  async request(operation: string, fields: Fields = {}, options: WaitOptions = {}): Promise<Fields> {
    return (await this.openStream(operation, fields, {}, options)).answer
  }

  /** As `request`, for an operation whose stream stays open. Resolves with the stream once it is answered. */
  async openStream(
    operation: string,
    fields: Fields,
    shape: StreamShape,
    { signal, timeoutMs = limits.linkRequestTimeoutMs }: WaitOptions = {},
  ): Promise<LinkStream> {
    using deadline = startDeadline(this.clock, { signal, timeoutMs }, () => unanswered(operation, timeoutMs))
    const stream = this.#begin(operation, fields, shape)
    try {
      await race(stream.answer, deadline.signal)
    } catch (error) {
      if (error instanceof RametError) stream.reset(error)
      throw error
    }
    return stream
  }

  send(frame: Frame): void {
    this.#transport.write(encodeHeader(frame), frame.payload)
  }

  /** Keeps back what is sent from now on, requests too; see `Transport.hold`. */
  hold(): void {
    this.#transport.hold()
  }

  letOut(): void {
    this.#transport.letOut()
  }

  whenWritable(): Promise<void> {
    return this.#transport.whenWritable()
  }

  release(stream: LinkStream): void {
    this.#streams.delete(stream.id)
    // What was under way when it ended still arrives.
    this.#strayBytesLeft = Math.min(this.#strayBytesLeft + limits.linkStrayBytes, limits.linkQueueBytes)
  }

  /** @throws RametError `AGENT_PROTOCOL` when so much has led to nothing that only a guest out of order sends it */
  stray(frame: Frame): void {
    this.#strayBytesLeft -= headerBytes + frame.payload.length
    if (this.#strayBytesLeft < 0) throw badFrame('too many frames that belong to nothing')
  }

  /** @throws RametError `AGENT_PROTOCOL` for a frame that no agent of ours would send */
  takeFrame(frame: Frame): void {
    if (this.#error !== undefined) return
    if (frame.type === frameType.bye) throw saidBye(decodeFields(frame.payload))
    if (frame.type === frameType.welcome) throw badFrame('a second welcome')
    if (frame.type === frameType.event && this.version < 2) throw badFrame('an event in a session of version 1')
    const stream = this.#streams.get(frame.stream)
    if (stream === undefined) this.stray(frame)
    else stream.take(frame)
  }

  /** Ends the session on this side; all that waits is rejected with `error`. */
  end(error: RametError): void {
    if (this.#error !== undefined) return
    this.#error = error
    for (const stream of [...this.#streams.values()]) stream.end(error)
    this.#closed.resolve(error)
  }

  #begin(operation: string, fields: Fields, shape: StreamShape): LinkStream {
    if (this.#error !== undefined) throw this.#error
    if (this.version < 2 && sinceVersion2.has(operation)) {
      throw guestRefused(operation, enosys, 'its agent speaks protocol version 1 only')
    }
    if (this.#streams.size >= limits.linkStreamCount) {
      throw new RametError('NO_CAPACITY', {
        message: `${limits.linkStreamCount} requests to this guest are open already`,
        remediation: 'Wait until some of its commands, transfers or connections have ended.',
      })
    }
    const payload = encodeFields({ op: operation, ...fields })
    const stream = new LinkStream(this.#nextStream, operation, shape, this)
    this.#nextStream += 1
    this.#streams.set(stream.id, stream)
    this.send({ type: frameType.request, channel: 0, stream: stream.id, offset: 0, payload })
    return stream
  }
}

function saidBye(fields: Fields): RametError {
  return new RametError('AGENT_PROTOCOL', {
    message: `the guest agent ended the session: ${fields.message ?? `errno ${fields.errno ?? 0}`}`,
  })
}
