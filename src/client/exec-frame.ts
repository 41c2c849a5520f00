/**
 * The data frames of the exec WebSocket (the whole protocol is told in src/api/exec-socket.ts), again and
 * without the schemas: a validator takes longer to load than a command takes to run in a warm guest.
 * A test holds the two against each other.
 */
import type { Channel, DataFrame } from '../api/exec-socket.ts'

export const subprotocol = 'ramet.exec.v1'
export const closeNormal = 1000
const headerBytes = 9
const channelNames: readonly Channel[] = ['stdin', 'stdout', 'stderr']

export function encodeFrame(channel: Channel, offset: number, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(headerBytes + data.length)
  bytes[0] = channelNames.indexOf(channel)
  new DataView(bytes.buffer).setBigUint64(1, BigInt(offset))
  bytes.set(data, headerBytes)
  return bytes
}

/** undefined when it is no frame; `data` is a view, not a copy */
export function decodeFrame(bytes: Uint8Array): DataFrame | undefined {
  if (bytes.length <= headerBytes) return undefined
  const channel = channelNames[bytes[0] ?? 255]
  const offset = Number(new DataView(bytes.buffer, bytes.byteOffset, bytes.length).getBigUint64(1))
  if (channel === undefined || !Number.isSafeInteger(offset + bytes.length)) return undefined
  return { channel, offset, data: bytes.subarray(headerBytes) }
}
