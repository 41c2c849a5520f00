/** Descriptors sent over a socket, to a process that runs already. */
import type { Socket } from 'node:net'
import koffi from 'koffi'
import { RametError } from '../shared/errors.ts'
import { check } from './libc.ts'
import { descriptorOf } from './peer.ts'

const libc = koffi.load('libc.so.6')
const vector = koffi.struct('RametVector', { base: 'void *', length: 'size_t' })
const message = koffi.struct('RametMessage', {
  name: 'void *',
  nameLength: 'uint32_t',
  vectors: koffi.pointer(vector),
  vectorCount: 'size_t',
  control: 'void *',
  controlLength: 'size_t',
  flags: 'int',
})
const sendmsgRaw: (fd: number, message: object, flags: number) => number | bigint = libc.func('sendmsg', 'int64_t', [
  'int',
  koffi.pointer(message),
  'int',
])

const socketLevel = 1
const rightsType = 1
const noSignal = 0x4000

/**
 * Sends bytes together with a descriptor, past Node's own queue: what was written before has to be flushed.
 *
 * @param bytes short, so that they go in one piece
 * @throws ErrnoError `EAGAIN` when the far side does not read, `EPIPE`; RametError `INTERNAL` on a closed socket
 */
export function sendWithDescriptor(socket: Socket, bytes: Buffer, fd: number): void {
  // struct cmsghdr { size_t len; int level; int type; int fd }, padded to 8 bytes
  const control = Buffer.alloc(24)
  control.writeBigUInt64LE(20n, 0)
  control.writeInt32LE(socketLevel, 8)
  control.writeInt32LE(rightsType, 12)
  control.writeInt32LE(fd, 16)
  const sent = sendmsgRaw(
    descriptorOf(socket),
    {
      name: null,
      nameLength: 0,
      vectors: [{ base: bytes, length: bytes.length }],
      vectorCount: 1,
      control,
      controlLength: control.length,
      flags: 0,
    },
    noSignal,
  )
  const count = Number(check('sendmsg', sent))
  if (count !== bytes.length) throw shortWrite(count, bytes.length)
}

function shortWrite(count: number, wanted: number): RametError {
  return new RametError('INTERNAL', { message: `only ${count} of ${wanted} bytes went with a descriptor` })
}
