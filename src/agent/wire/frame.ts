import { RametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'

/** Frame types by name; docs/agent-protocol.md, section 3. */
export const frameType = {
  hello: 1,
  welcome: 2,
  request: 3,
  response: 4,
  event: 5,
  data: 6,
  ack: 7,
  eof: 8,
  reset: 9,
  bye: 10,
} as const

export type FrameType = (typeof frameType)[keyof typeof frameType]

/** 0 towards the guest, 1 from the guest, 2 stderr */
export type Channel = 0 | 1 | 2

export interface Frame {
  readonly type: FrameType
  /** 0 unless the frame is `data`, `ack` or `eof` */
  readonly channel: Channel
  /** 0 for frames of the session itself */
  readonly stream: number
  /** bytes; see the table of section 3 */
  readonly offset: number
  readonly payload: Buffer
}

export const headerBytes = 20

export const emptyPayload: Buffer = Buffer.alloc(0)

/** Types that belong to a channel of a stream: the only ones with a channel and an offset. */
export function isChannelFrame(type: FrameType): boolean {
  return type === frameType.data || type === frameType.ack || type === frameType.eof
}

/** The 20 bytes before `frame.payload`. */
export function encodeHeader(frame: Frame): Buffer {
  const header = Buffer.alloc(headerBytes)
  header.writeUInt32LE(frame.payload.length, 0)
  header.writeUInt8(frame.type, 4)
  header.writeUInt8(frame.channel, 5)
  header.writeUInt32LE(frame.stream, 8)
  header.writeUInt32LE(frame.offset % 2 ** 32, 12)
  header.writeUInt32LE(Math.floor(frame.offset / 2 ** 32), 16)
  return header
}

/**
 * Reads a header, without its payload.
 *
 * @param accepted the types that the other side may send
 * @throws RametError `AGENT_PROTOCOL` naming the field that is wrong
 */
export function decodeHeader(header: Buffer, accepted: ReadonlySet<number>): Omit<Frame, 'payload'> & { size: number } {
  const size = header.readUInt32LE(0)
  const type = header.readUInt8(4)
  const channel = header.readUInt8(5)
  const offset = header.readUInt32LE(12) + header.readUInt32LE(16) * 2 ** 32
  if (size > limits.framePayloadBytes) throw badFrame(`a payload of ${size} bytes`)
  if (!accepted.has(type)) throw badFrame(`the frame type ${type}`)
  if (header.readUInt16LE(6) !== 0) throw badFrame('a reserved field that is not zero')
  if (channel > 2) throw badFrame(`the channel ${channel}`)
  if (offset >= limits.streamOffsetBytes) throw badFrame(`the offset ${offset}`)
  const frame = { type: type as FrameType, channel: channel as Channel, stream: header.readUInt32LE(8), offset, size }
  if (!isChannelFrame(frame.type) && (channel !== 0 || offset !== 0)) throw badFrame('a channel outside of a stream')
  if (frame.type !== frameType.data && isChannelFrame(frame.type) && size > 0) throw badFrame('an unexpected payload')
  return frame
}

/** What ends a session: the other side sent something that no agent of ours would. */
export function badFrame(what: string): RametError {
  return new RametError('AGENT_PROTOCOL', { message: `the guest agent sent ${what}` })
}
