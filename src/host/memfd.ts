/** Memory files: anonymous, in RAM, sealable, handed on as inherited descriptors. */
import { closeSync, fstatSync, ftruncateSync, openSync, readlinkSync } from 'node:fs'
import { check, fallocateRaw, fcntlRaw, memfdCreateRaw } from './libc.ts'

const closeOnExec = 1
const allowSealing = 2
const addSeals = 1033
const getSeals = 1034
const keepSize = 1
const punchHoleMode = 2

/** Seals of `fcntl(2)`, as a bit set. */
export const seals = { seal: 1, shrink: 2, grow: 4, write: 8 } as const
/** What makes a memory file immutable for everyone, for ever. */
export const immutableSeals = seals.seal | seals.shrink | seals.grow | seals.write

/**
 * Creates an empty memory file that accepts seals; the descriptor is not inherited by itself.
 *
 * @param name shown in `/proc/PID/maps` as `/memfd:<name> (deleted)`, up to 249 bytes
 * @throws ErrnoError `EMFILE`, `ENOMEM`
 */
export function createMemfd(name: string, sizeBytes: number): number {
  const fd = check('memfd_create', memfdCreateRaw(name, closeOnExec | allowSealing), name)
  try {
    ftruncateSync(fd, sizeBytes)
  } catch (error) {
    closeSync(fd)
    throw error
  }
  return fd
}

/** @throws ErrnoError `EBUSY` for `seals.write` while a shared writable mapping exists, `EPERM` when sealed */
export function sealFile(fd: number, set: number): void {
  check('fcntl F_ADD_SEALS', fcntlRaw(fd, addSeals, set))
}

/** @throws ErrnoError `EINVAL` for a file that cannot be sealed */
export function sealsOf(fd: number): number {
  return check('fcntl F_GET_SEALS', fcntlRaw(fd, getSeals, 0))
}

/**
 * Reserves space for a range, so that later writes cannot meet a full file system. The kernel sets memory
 * files no limit of size: reserving more than is free ends in the out-of-memory killer, not in an error.
 * The caller compares with `availableBytes` of `meminfo.ts` first.
 *
 * @throws ErrnoError `ENOSPC` on a tmpfs with a limit, `EPERM` when sealed
 */
export function reserveSpace(fd: number, offsetBytes: number, lengthBytes: number): void {
  check('fallocate', fallocateRaw(fd, 0, offsetBytes, lengthBytes), `${lengthBytes} bytes`)
}

/**
 * The same for a file that is yet to be written: its size stays what it is.
 *
 * @throws ErrnoError `ENOSPC` on a tmpfs with a limit
 */
export function reserveBeyondEnd(fd: number, offsetBytes: number, lengthBytes: number): void {
  check('fallocate', fallocateRaw(fd, keepSize, offsetBytes, lengthBytes), `${lengthBytes} bytes`)
}

/**
 * Gives the space of a range back; it reads as zeros from then on.
 *
 * @throws ErrnoError `EPERM` when sealed against writing
 */
export function punchHole(fd: number, offsetBytes: number, lengthBytes: number): void {
  check('fallocate', fallocateRaw(fd, punchHoleMode | keepSize, offsetBytes, lengthBytes), 'punch hole')
}

/** Bytes of a file that hold memory or disk blocks, holes left out. */
export function allocatedBytes(fd: number): number {
  return fstatSync(fd).blocks * 512
}

/** The name a memory file was created with; undefined when the descriptor is something else. */
export function memfdName(fdPath: string): string | undefined {
  const match = /^\/memfd:(.*?)(?: \(deleted\))?$/s.exec(readlinkSync(fdPath))
  return match?.[1]
}

/** Opens another process's descriptor anew: same file, own position. Flags as in `node:fs`. */
export function openDescriptorOf(pid: number | 'self', fd: number, flags: 'r' | 'r+'): number {
  return openSync(`/proc/${pid}/fd/${fd}`, flags)
}
