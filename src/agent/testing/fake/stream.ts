import { limits } from '../../../shared/limits.ts'
import type { Fields } from '../../wire/field-table.ts'
import { decodeFields, encodeFields } from '../../wire/fields.ts'
import { type Frame, frameType } from '../../wire/frame.ts'
import type { PeerConnection } from '../scripted-peer.ts'

/** The guest's end of one stream. */
export class FakeStream {
  readonly id: number
  readonly request: Fields
  readonly #sendsEvents: boolean
  readonly #connection: PeerConnection
  /** guest to host, by channel: sent and acknowledged */
  readonly #sent: Record<1 | 2, number> = { 1: 0, 2: 0 }
  readonly #acked: Record<1 | 2, number> = { 1: 0, 2: 0 }
  onData: ((offset: number, bytes: Buffer) => void) | undefined
  onEof: (() => void) | undefined
  onAck: ((channel: 1 | 2, count: number) => void) | undefined
  onOver: (() => void) | undefined
  over = false

  constructor(connection: PeerConnection, frame: Frame, sendsEvents: boolean) {
    this.#sendsEvents = sendsEvents
    this.#connection = connection
    this.id = frame.stream
    this.request = decodeFields(frame.payload)
  }

  startAt(channel: 1 | 2, offset: number): void {
    this.#sent[channel] = offset
    this.#acked[channel] = offset
  }

  sent(channel: 1 | 2): number {
    return this.#sent[channel]
  }

  room(channel: 1 | 2): number {
    return this.#acked[channel] + limits.streamWindowBytes - this.#sent[channel]
  }

  respond(fields: Fields = {}): void {
    if (!this.over) this.#connection.respond(this.id, fields)
  }

  event(fields: Fields): void {
    if (this.over || !this.#sendsEvents) return
    this.#connection.write({ type: frameType.event, stream: this.id, payload: encodeFields(fields) })
  }

  send(channel: 1 | 2, bytes: Buffer): void {
    for (let at = 0; at < bytes.length && !this.over; at += limits.framePayloadBytes) {
      const payload = bytes.subarray(at, at + limits.framePayloadBytes)
      const offset = this.#sent[channel]
      this.#connection.write({ type: frameType.data, channel, stream: this.id, offset, payload })
      this.#sent[channel] += payload.length
    }
  }

  eof(channel: 1 | 2): void {
    if (this.over) return
    this.#connection.write({ type: frameType.eof, channel, stream: this.id, offset: this.#sent[channel] })
  }

  ack(count: number): void {
    if (!this.over) this.#connection.write({ type: frameType.ack, channel: 0, stream: this.id, offset: count })
  }

  reset(errno: number, message: string): void {
    if (this.over) return
    this.#connection.write({ type: frameType.reset, stream: this.id, payload: encodeFields({ errno, message }) })
    this.end()
  }

  end(): void {
    if (this.over) return
    this.over = true
    this.onOver?.()
  }

  take(frame: Frame): void {
    if (this.over) return
    if (frame.type === frameType.reset) this.end()
    else if (frame.type === frameType.data) this.onData?.(frame.offset, Buffer.from(frame.payload))
    else if (frame.type === frameType.eof) this.onEof?.()
    else if (frame.type === frameType.ack && frame.channel !== 0) {
      this.#acked[frame.channel] = frame.offset
      this.onAck?.(frame.channel, frame.offset)
    }
  }
}
