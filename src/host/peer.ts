import type { Socket } from 'node:net'
import koffi from 'koffi'
import { RametError } from '../shared/errors.ts'
import { check } from './libc.ts'
import { isRunning, type ProcessIdentity } from './process-identity.ts'

const libc = koffi.load('libc.so.6')
const getsockoptRaw: (fd: number, level: number, name: number, value: Buffer, length: Buffer) => number = libc.func(
  'getsockopt',
  'int',
  ['int', 'int', 'int', 'void *', 'void *'],
)

const socketLevel = 1
const peerCredentials = 17

/**
 * The process that listened at the other end of a connected unix socket, as the kernel noted it then.
 *
 * @throws ErrnoError `ENOTCONN`; RametError `INTERNAL` when the socket has no descriptor any more
 */
export function peerPid(socket: Socket): number {
  const credentials = Buffer.alloc(12)
  const length = Buffer.alloc(4)
  length.writeUInt32LE(credentials.length)
  const fd = descriptorOf(socket)
  check('getsockopt', getsockoptRaw(fd, socketLevel, peerCredentials, credentials, length), 'SO_PEERCRED')
  return credentials.readInt32LE(0)
}

/**
 * Makes sure that a socket leads to this very process. A vm's directory belongs to the vm's own user, so what lies
 * under a name in it may have become a link to the socket of another vm, or of any service of the host.
 *
 * @throws RametError `VMM_FAILED` when somebody else listens there
 */
export function requirePeer(socket: Socket, expected: ProcessIdentity, path: string): void {
  const pid = peerPid(socket)
  if (pid === expected.pid && isRunning(expected)) return
  if (pid === expected.pid)
    throw new RametError('VMM_FAILED', { message: `this vm's QEMU (${pid}) has ended`, details: { lost: true } })
  throw new RametError('VMM_FAILED', {
    message: `at ${path} listens process ${pid}, not this vm's QEMU (${expected.pid}): the socket was replaced`,
    remediation: 'Its QEMU may be under the control of its guest: remove the vm, and do not trust what it held.',
  })
}

/** Node keeps the descriptor in the socket's handle, and has no public way to it. */
export function descriptorOf(socket: Socket): number {
  const handle: unknown = Reflect.get(socket, '_handle')
  const fd: unknown = typeof handle === 'object' && handle !== null ? Reflect.get(handle, 'fd') : undefined
  if (typeof fd === 'number' && fd >= 0) return fd
  throw new RametError('INTERNAL', { message: 'a connected socket has no descriptor' })
}
