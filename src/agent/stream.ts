import { RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import { race, throwIfCancelled } from './deadline.ts'
import { Receiver, Sender } from './flow.ts'
import { checkAnswer, guestReset } from './guest-error.ts'
import { OutputQueue } from './output-queue.ts'
import type { Fields } from './wire/field-table.ts'
import { decodeFields, encodeFields } from './wire/fields.ts'
import { badFrame, emptyPayload, type Frame, frameType } from './wire/frame.ts'
import { splitAtGuard, viewOf } from './wire/marker.ts'

/** What a stream needs of its session. */
export interface FrameSink {
  send(frame: Frame): void
  whenWritable(): Promise<void>
  /** a frame that leads to nothing: tolerated so often */
  stray(frame: Frame): void
  /** the stream is over; frames for it are ignored from now on */
  release(stream: LinkStream): void
}

export interface ChannelStarts {
  readonly 0?: number | undefined
  readonly 1?: number | undefined
  readonly 2?: number | undefined
  /** of channel 0: what the guest has passed on; default: all */
  readonly acked?: number | undefined
}

/** How a stream behaves after its first response; without any of it, it is a plain request. */
export interface StreamShape {
  /** stays open after the response */
  readonly lasting?: boolean
  /** a second response ends it */
  readonly outcome?: boolean
  /** channels in which the guest sends */
  readonly receives?: readonly (1 | 2)[]
  /** whether the host sends, in channel 0 */
  readonly sends?: boolean
  /** offsets at which the channels begin, told by the response */
  readonly starts?: (answer: Fields) => ChannelStarts
  /** called for each event frame, within the decoding of the frame */
  readonly onEvent?: (event: Fields, stream: LinkStream) => void
  /** called when a channel of the guest has ended, after its end was queued */
  readonly onEof?: (stream: LinkStream) => void
  /** what of a refusing answer belongs into the error's details */
  readonly refusalDetails?: (answer: Fields) => Record<string, unknown>
  /** called when the guest acknowledges what was sent */
  readonly onAck?: (count: number) => void
}

/** One request and what belongs to it. Ends with the answer, by itself, by a reset, or with its session. */
export class LinkStream {
  readonly id: number
  readonly operation: string
  /** first response, with errno 0; rejects with `GUEST_REFUSED` or what ended the stream */
  readonly answer: Promise<Fields>
  /** second response, of operations that have one */
  readonly outcome: Promise<Fields>
  /** the error that ended the stream, or undefined when it came to its natural end */
  readonly ended: Promise<RametError | undefined>
  readonly queue: OutputQueue = new OutputQueue()
  readonly #sink: FrameSink
  readonly #shape: StreamShape
  readonly #answer = Promise.withResolvers<Fields>()
  readonly #outcome = Promise.withResolvers<Fields>()
  readonly #ended = Promise.withResolvers<RametError | undefined>()
  #answered = false
  #over = false
  #error: RametError | undefined
  #receivers: [undefined, Receiver | undefined, Receiver | undefined] = [undefined, undefined, undefined]
  #sender: Sender | undefined
  #windowOpened = Promise.withResolvers<void>()

  constructor(id: number, operation: string, shape: StreamShape, sink: FrameSink) {
    this.id = id
    this.operation = operation
    this.#shape = shape
    this.#sink = sink
    this.answer = this.#answer.promise
    this.outcome = this.#outcome.promise
    this.ended = this.#ended.promise
    // Whoever waits sees the rejection; nobody has to wait.
    this.answer.catch(() => {})
    this.outcome.catch(() => {})
  }

  get over(): boolean {
    return this.#over
  }

  /** Host to guest: bytes sent and acknowledged so far, by offset. */
  get sent(): number {
    return this.#sender?.sent ?? 0
  }

  get sentAcked(): number {
    return this.#sender?.acked ?? 0
  }

  /** Whether the host has ended its channel. */
  get sentAll(): boolean {
    return this.#sender?.ended === true
  }

  /** Whether the guest has ended all its channels. */
  get receivedAll(): boolean {
    return (this.#shape.receives ?? []).every((channel) => this.#receivers[channel]?.ended === true)
  }

  /**
   * Sends bytes in channel 0, as fast as window and connection allow. One call at a time.
   *
   * @throws what ended the stream; the signal's reason
   */
  async send(bytes: Uint8Array, signal?: AbortSignal): Promise<void> {
    for (const piece of splitAtGuard(viewOf(bytes))) {
      for (let at = 0; at < piece.length; ) {
        const sender = await this.#whenSendable(signal)
        const size = Math.min(sender.room, limits.framePayloadBytes, piece.length - at)
        if (sender.sent + size >= limits.streamOffsetBytes) {
          throw new RametError('TOO_LARGE', { message: `${this.operation} cannot send more in one stream` })
        }
        this.#sendFrame(frameType.data, 0, sender.take(size), piece.subarray(at, at + size))
        at += size
      }
    }
  }

  /** Nothing follows in channel 0. */
  sendEof(): void {
    if (this.#over || this.#sender === undefined || this.#sender.ended) return
    this.#sendFrame(frameType.eof, 0, this.#sender.end())
  }

  /** Everything before `offset` has been passed on to where it belongs. */
  ack(channel: 1 | 2, offset: number): void {
    const count = this.#over ? undefined : this.#receivers[channel]?.ack(offset)
    if (count !== undefined) this.#sendFrame(frameType.ack, channel, count)
  }

  /** Ends the stream for both sides, here as `end` does. */
  reset(error?: RametError): void {
    if (this.#over) return
    this.#sendFrame(frameType.reset, 0, 0, encodeFields({ errno: 125, message: 'given up by the host' }))
    this.end(error)
  }

  /** Ends our side: naturally, or with an error that everybody who waits gets. */
  end(error?: RametError): void {
    if (this.#over) return
    this.#over = true
    this.#error = error
    this.#sink.release(this)
    const reason = error ?? new RametError('AGENT_LINK_LOST', { message: `${this.operation} is over` })
    this.#answer.reject(reason)
    this.#outcome.reject(reason)
    this.#windowOpened.resolve()
    this.queue.end(error)
    this.#ended.resolve(error)
  }

  /** Takes a frame of this stream. What is wrong in it ends the stream; fields that cannot be read are thrown. */
  take(frame: Frame): void {
    switch (frame.type) {
      case frameType.response:
        this.#takeResponse(decodeFields(frame.payload))
        break
      case frameType.reset:
        this.#takeReset(decodeFields(frame.payload))
        break
      case frameType.event:
        if (this.#shape.onEvent === undefined) this.#sink.stray(frame)
        else this.#shape.onEvent(decodeFields(frame.payload), this)
        break
      default:
        this.#takeChannelFrame(frame)
    }
  }

  #takeChannelFrame(frame: Frame): void {
    let useful = true
    try {
      if (frame.type === frameType.ack) useful = this.#takeAck(frame)
      else this.#takeOutput(frame)
    } catch (error) {
      if (!(error instanceof RametError)) throw error
      this.reset(error)
    }
    if (!useful) this.#sink.stray(frame)
  }

  /** Returns whether it acknowledges anything new. */
  #takeAck(frame: Frame): boolean {
    if (frame.channel !== 0 || this.#sender === undefined) throw badFrame('an acknowledgement of nothing')
    if (!this.#sender.ack(frame.offset)) return false
    this.#windowOpened.resolve()
    this.#windowOpened = Promise.withResolvers()
    this.#shape.onAck?.(frame.offset)
    return true
  }

  #takeOutput(frame: Frame): void {
    if (!this.#answered) throw badFrame(`a frame of ${this.operation} before its answer`)
    const { channel, offset } = frame
    const receiver = this.#receivers[channel]
    if (channel === 0 || receiver === undefined) throw badFrame(`data in channel ${channel} of ${this.operation}`)
    if (frame.type === frameType.data) {
      receiver.data(offset, frame.payload.length)
      this.queue.push({ kind: 'data', channel, offset, bytes: frame.payload })
      return
    }
    receiver.eof(offset)
    this.queue.push({ kind: 'eof', channel, offset })
    this.#shape.onEof?.(this)
  }

  #takeResponse(fields: Fields): void {
    try {
      const answer = checkAnswer(this.operation, fields, this.#shape.refusalDetails)
      if (this.#answered) {
        if (!this.#shape.outcome) throw badFrame(`a second answer to ${this.operation}`)
        this.#outcome.resolve(answer)
        this.end()
        return
      }
      this.#answered = true
      this.#openChannels(answer)
      this.#answer.resolve(answer)
      if (!this.#shape.lasting) this.end()
    } catch (error) {
      if (!(error instanceof RametError)) throw error
      this.end(error)
    }
  }

  #openChannels(answer: Fields): void {
    const starts = this.#shape.starts?.(answer) ?? {}
    for (const channel of this.#shape.receives ?? []) this.#receivers[channel] = new Receiver(starts[channel])
    if (this.#shape.sends) this.#sender = new Sender(starts[0], starts.acked)
  }

  #takeReset(fields: Fields): void {
    this.end(guestReset(this.operation, fields.errno ?? 0, fields.message))
  }

  async #whenSendable(signal: AbortSignal | undefined): Promise<Sender> {
    while (true) {
      throwIfCancelled(signal)
      if (this.#over) throw this.#error ?? new RametError('AGENT_LINK_LOST', { message: `${this.operation} is over` })
      const sender = this.#sender
      if (sender === undefined || sender.ended) {
        throw new RametError('ILLEGAL_STATE', { message: `${this.operation} takes no more input` })
      }
      if (sender.room <= 0) await race(this.#windowOpened.promise, signal)
      else {
        await race(this.#sink.whenWritable(), signal)
        if (!this.#over && sender.room > 0) return sender
      }
    }
  }

  #sendFrame(type: Frame['type'], channel: 0 | 1 | 2, offset: number, payload: Buffer = emptyPayload): void {
    this.#sink.send({ type, channel, stream: this.id, offset, payload })
  }
}
