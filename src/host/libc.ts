/**
 * The few system calls that Node lacks, as plain functions over koffi. Everything else in Ramet
 * goes through the files beside this one, never to koffi itself.
 *
 * `fcntl`, `ioctl` and `syscall` are variadic in C; on Linux (x86-64 and arm64) integer arguments
 * are passed to a variadic function as to any other, so fixed prototypes are right and cheaper.
 */
import { constants } from 'node:os'
import koffi from 'koffi'

const libc = koffi.load('libc.so.6')

/** A 64-bit quantity: koffi takes numbers while they are safe integers. */
type Long = number | bigint

export const memfdCreateRaw: (name: string, flags: number) => number = libc.func(
  'int memfd_create(const char *name, unsigned int flags)',
)
export const fcntlRaw: (fd: number, command: number, argument: number) => number = libc.func(
  'int fcntl(int fd, int command, int argument)',
)
export const ioctlBufferRaw: (fd: number, request: Long, buffer: Buffer) => number = libc.func('ioctl', 'int', [
  'int',
  'unsigned long',
  'void *',
])
export const fallocateRaw: (fd: number, mode: number, offset: Long, length: Long) => number = libc.func(
  'int fallocate(int fd, int mode, int64_t offset, int64_t length)',
)
export const flockRaw: (fd: number, operation: number) => number = libc.func('int flock(int fd, int operation)')
export const madviseRaw: (start: Buffer, length: number, advice: number) => number = libc.func('madvise', 'int', [
  'void *',
  'size_t',
  'int',
])
/** As `madviseRaw`, by address: a view for each call would cost more than the call. */
export const madviseAtRaw: (address: Long, length: number, advice: number) => number = libc.func('madvise', 'int', [
  'uintptr_t',
  'size_t',
  'int',
])
export const mmapRaw: (
  address: Long,
  length: number,
  protection: number,
  flags: number,
  fd: number,
  offset: Long,
) => Long = libc.func('mmap', 'int64_t', ['uintptr_t', 'size_t', 'int', 'int', 'int', 'int64_t'])
export const processVmReadvRaw: (
  pid: number,
  local: Uint32Array,
  localCount: number,
  remote: Uint32Array,
  remoteCount: number,
  flags: number,
) => Long = libc.func('process_vm_readv', 'long', [
  'int',
  'void *',
  'unsigned long',
  'void *',
  'unsigned long',
  'unsigned long',
])
export const setsockoptRaw: (fd: number, level: number, name: number, value: Buffer, length: number) => number =
  libc.func('setsockopt', 'int', ['int', 'int', 'int', 'void *', 'uint'])
/** The kernel's vector of one buffer is 16 bytes: its address and its length. */
export const preadv2Raw: (fd: number, vectors: Buffer, count: number, offset: Long, flags: number) => Long = libc.func(
  'preadv2',
  'long',
  ['int', 'void *', 'int', 'int64_t', 'int'],
)
export const lseekRaw: (fd: number, offset: Long, whence: number) => Long = libc.func(
  'int64_t lseek(int fd, int64_t offset, int whence)',
)
export const syscallRaw: (number: number, a: Long, b: Long, c: Long, d: Long) => Long = libc.func(
  'long syscall(long number, long a, long b, long c, long d)',
)

/** Where a buffer's bytes lie in this process; they never move. */
export function addressOf(buffer: ArrayBufferView): number {
  return Number(koffi.address(buffer))
}

/** Memory of this process as a buffer without an owner: nobody unmaps it when the buffer is collected. */
export function memoryAt(address: Long, lengthBytes: number): ArrayBuffer {
  return koffi.view(BigInt(address), lengthBytes)
}

const errnoNames = new Map(Object.entries(constants.errno).map(([name, value]) => [value, name]))

/** An error like those of `node:fs`: `code` is the errno's name, `syscall` the call that failed. */
export interface ErrnoError extends Error {
  code: string
  errno: number
  syscall: string
}

export function errnoError(syscall: string, errno: number, detail = ''): ErrnoError {
  const code = errnoNames.get(errno) ?? `E${errno}`
  const message = `${code}: ${syscall}${detail === '' ? '' : ` (${detail})`}`
  return Object.assign(new Error(message), { code, errno: -errno, syscall })
}

/**
 * Passes a system call's result through.
 *
 * @throws ErrnoError when the result is -1
 */
export function check<T extends Long>(syscall: string, result: T, detail = ''): T {
  if (Number(result) !== -1) return result
  throw errnoError(syscall, koffi.errno(), detail)
}
