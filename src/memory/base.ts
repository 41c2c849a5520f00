/**
 * A base: guest RAM that no process can change any more, in a sealed memory file. Every vm maps one
 * privately. A base is written once, by `BaseWriter`, and then held by a keeper.
 */
import { closeSync, fstatSync, writeSync } from 'node:fs'
import { setImmediate as breathe } from 'node:timers/promises'
import {
  allocatedBytes,
  createMemfd,
  immutableSeals,
  punchHole,
  reserveSpace,
  sealFile,
  sealsOf,
} from '../host/memfd.ts'
import { type ReadMemoryInfo, readMemoryInfo } from '../host/meminfo.ts'
import { errnoOf, RametError } from '../shared/errors.ts'
import { faultPoint } from '../shared/fault.ts'
import { formatBytes, limits } from '../shared/limits.ts'

export const pageBytes = 4096

/** A run of guest RAM: where it begins, how long it is, both multiples of the page size. */
export interface Run {
  readonly offsetBytes: number
  readonly lengthBytes: number
}

/** An open descriptor of a sealed base. Whoever holds it closes it. */
export interface OpenBase {
  readonly id: string
  readonly fd: number
  readonly sizeBytes: number
}

export function memfdNameOf(baseId: string): string {
  return `ramet-${baseId}`
}

/** @throws RametError `NO_CAPACITY` when the host has not that much memory to spare */
export function checkMemoryFor(bytes: number, what: string, readMemory: ReadMemoryInfo = readMemoryInfo): void {
  const { availableBytes } = readMemory()
  if (bytes + limits.hostReserveBytes <= availableBytes) return
  const reserve = formatBytes(limits.hostReserveBytes)
  throw new RametError('NO_CAPACITY', {
    message: `${what} needs ${formatBytes(bytes)}; the host has ${formatBytes(availableBytes)}, of which ${reserve} stay free`,
    details: { neededBytes: bytes, availableBytes, reserveBytes: limits.hostReserveBytes },
  })
}

export interface CreateBaseOptions {
  id: string
  /** size of the guest RAM, a multiple of 4 KiB */
  sizeBytes: number
  /** where content may come, ascending; the rest are holes for sure; default the whole base */
  data?: readonly Run[]
  readMemory?: ReadMemoryInfo
  signal?: AbortSignal
}

/**
 * Writes the content of a base, then seals it. Memory for the content is reserved first, so that a host
 * short of it refuses here and not in the middle. What was never written, or is zeros, is a hole in the end.
 */
export class BaseWriter implements Disposable {
  readonly id: string
  readonly sizeBytes: number
  readonly #fd: number
  #closed = false
  #endBytes = 0

  private constructor(id: string, sizeBytes: number, fd: number) {
    this.id = id
    this.sizeBytes = sizeBytes
    this.#fd = fd
  }

  /** @throws RametError `NO_CAPACITY`, `NO_SPACE`; the signal's reason when aborted */
  static async create(options: CreateBaseOptions): Promise<BaseWriter> {
    const { id, sizeBytes, signal } = options
    if (sizeBytes <= 0 || sizeBytes % pageBytes !== 0) {
      throw new RametError('INVALID_ARGUMENT', { message: `a base of ${sizeBytes} bytes is not whole pages` })
    }
    checkMemoryFor(sizeBytes, `memory base ${id}`, options.readMemory)
    const writer = new BaseWriter(id, sizeBytes, createMemfd(memfdNameOf(id), sizeBytes))
    try {
      await reserveRuns(writer.#fd, options.data ?? [{ offsetBytes: 0, lengthBytes: sizeBytes }], signal)
      return writer
    } catch (error) {
      writer[Symbol.dispose]()
      if (error instanceof Error && 'code' in error && (error.code === 'ENOSPC' || error.code === 'ENOMEM')) {
        throw new RametError('NO_CAPACITY', { message: `no memory for base ${id}`, cause: error })
      }
      throw error
    }
  }

  /** Writes pages at an offset; calls come in ascending order of offset and do not overlap. */
  write(bytes: Uint8Array, offsetBytes: number): void {
    if (offsetBytes < this.#endBytes || offsetBytes + bytes.length > this.sizeBytes) {
      throw new RametError('INTERNAL', { message: `write at ${offsetBytes} of base ${this.id} out of order` })
    }
    this.#put(bytes, offsetBytes)
    this.#endBytes = offsetBytes + bytes.length
  }

  /** Writes pages within `data` in any order, each once: for whoever has them in another one. */
  place(bytes: Uint8Array, offsetBytes: number): void {
    if (offsetBytes < 0 || offsetBytes + bytes.length > this.sizeBytes) {
      throw new RametError('INTERNAL', { message: `write at ${offsetBytes} is not within base ${this.id}` })
    }
    this.#put(bytes, offsetBytes)
  }

  #put(bytes: Uint8Array, offsetBytes: number): void {
    for (let done = 0; done < bytes.length; ) {
      done += writeSync(this.#fd, bytes, done, bytes.length - done, offsetBytes + done)
    }
  }

  /**
   * Says that a range is zeros, in the same order as writes: memory reserved for it is given back.
   */
  leaveHole(offsetBytes: number, lengthBytes: number): void {
    if (offsetBytes < this.#endBytes) {
      throw new RametError('INTERNAL', { message: `hole at ${offsetBytes} of base ${this.id} out of order` })
    }
    punchHole(this.#fd, offsetBytes, lengthBytes)
    this.#endBytes = offsetBytes + lengthBytes
  }

  /** Seals the base for ever and hands its descriptor over to the caller. */
  seal(): OpenBase {
    sealFile(this.#fd, immutableSeals)
    this.#closed = true
    return { id: this.id, fd: this.#fd, sizeBytes: this.sizeBytes }
  }

  /** Drops an unsealed base; nothing once it is sealed. */
  [Symbol.dispose](): void {
    if (this.#closed) return
    this.#closed = true
    closeSync(this.#fd)
  }
}

/** In chunks, so that reserving gigabytes neither stalls the daemon nor goes on after it was cancelled. */
async function reserveRuns(fd: number, runs: readonly Run[], signal: AbortSignal | undefined): Promise<void> {
  let breath = 0
  for (const run of runs) {
    for (let at = 0; at < run.lengthBytes; ) {
      signal?.throwIfAborted()
      faultPoint('memory.base')
      const lengthBytes = Math.min(limits.memoryChunkBytes, run.lengthBytes - at)
      reserveSpace(fd, run.offsetBytes + at, lengthBytes)
      at += lengthBytes
      breath += lengthBytes
      if (breath < limits.memoryChunkBytes) continue
      breath = 0
      await breathe()
    }
  }
}

/**
 * Checks that a descriptor is what it is said to be: of the right size, and immutable.
 *
 * @throws RametError `BASE_DAMAGED`
 */
export function checkSealed(fd: number, id: string, sizeBytes: number): void {
  const size = fstatSync(fd).size
  if (size !== sizeBytes) {
    throw new RametError('BASE_DAMAGED', { message: `memory base ${id} has ${size} bytes instead of ${sizeBytes}` })
  }
  if ((sealsIfAny(fd) & immutableSeals) !== immutableSeals) {
    throw new RametError('BASE_DAMAGED', { message: `memory base ${id} is not sealed` })
  }
}

/** A file that cannot be sealed has no seals. */
function sealsIfAny(fd: number): number {
  try {
    return sealsOf(fd)
  } catch (error) {
    if (errnoOf(error) === 'EINVAL') return 0
    throw error
  }
}

/** Memory a base takes right now; it grows up to its size as children touch holes. */
export function residentBytes(base: OpenBase): number {
  return allocatedBytes(base.fd)
}

/**
 * Memory a base may still take. The kernel charges it to the control group of the child that touches a hole
 * first, so a child's limit has to leave room for this much besides its own RAM.
 */
export function holeBytes(base: OpenBase): number {
  return base.sizeBytes - allocatedBytes(base.fd)
}
