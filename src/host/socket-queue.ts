/** How much of what was written to a socket its peer has not read yet. */
import type { Socket } from 'node:net'
import { check, ioctlBufferRaw, setsockoptRaw } from './libc.ts'
import { descriptorOf } from './peer.ts'

const socketLevel = 1
const sendBuffer = 7
const outQueue = 0x5411

/**
 * Limits what the kernel takes before the peer has read it; it doubles the number for its own needs.
 *
 * @throws ErrnoError
 */
export function limitSendBuffer(socket: Socket, bytes: number): void {
  const value = Buffer.alloc(4)
  value.writeInt32LE(bytes)
  check('setsockopt', setsockoptRaw(descriptorOf(socket), socketLevel, sendBuffer, value, value.length), 'SO_SNDBUF')
}

/**
 * Bytes of memory that the kernel holds for a unix socket's peer: somewhat more than were written.
 *
 * @returns 0 for a socket that is closed
 */
export function unreadBytes(socket: Socket): number {
  if (socket.destroyed) return 0
  const value = Buffer.alloc(4)
  check('ioctl', ioctlBufferRaw(descriptorOf(socket), outQueue, value), 'SIOCOUTQ')
  return value.readInt32LE(0)
}
