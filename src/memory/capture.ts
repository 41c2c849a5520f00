/**
 * Reading the memory of a stopped vm. First the private runs are listed, then they are copied: into a
 * delta (`delta.ts`), or together with the old base into a new base (template, fold).
 */
import { setImmediate as breathe } from 'node:timers/promises'
import { dataExtents } from '../host/extents.ts'
import type { ReadMemoryInfo } from '../host/meminfo.ts'
import { RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import { BaseWriter, type OpenBase, type Run } from './base.ts'
import type { Delta } from './delta.ts'
import type { GuestRam } from './guest-ram.ts'
import { mergeSources, type Piece } from './merge-sources.ts'
import { totalBytes } from './private-runs.ts'
import { openMemory, readFully } from './vm-memory.ts'
import { splitByZero } from './zero-pages.ts'

/** Told of bytes done so far out of a total that is known from the start. */
export type Progress = (doneBytes: number, totalBytes: number) => void

export interface CopyOptions {
  signal?: AbortSignal
  onProgress?: Progress
}

export interface FoldOptions extends CopyOptions {
  /** id of the new base */
  id: string
  ram: GuestRam
  /** from `listPrivateRuns` at the same stop */
  runs: readonly Run[]
  /** the base the vm was started on; absent for anonymous memory */
  base?: OpenBase
  readMemory?: ReadMemoryInfo
}

/**
 * Makes a new sealed base of the whole RAM of a stopped vm: private pages from the process, the others
 * from the old base. Pages of zeros become holes. The caller closes the result.
 *
 * @throws RametError `NO_CAPACITY`, `VMM_FAILED`, `PRIVILEGE`; the signal's reason when aborted
 */
export async function foldBase(options: FoldOptions): Promise<OpenBase> {
  const { id, ram, runs, base } = options
  if (base !== undefined && base.sizeBytes !== ram.sizeBytes) {
    throw new RametError('INTERNAL', { message: `base ${base.id} differs in size from the RAM over it` })
  }
  const pieces = mergeSources(runs, base === undefined ? [] : dataExtents(base.fd, base.sizeBytes))
  const { signal, readMemory } = options
  using writer = await BaseWriter.create({
    id,
    sizeBytes: ram.sizeBytes,
    data: pieces,
    ...(signal === undefined ? {} : { signal }),
    ...(readMemory === undefined ? {} : { readMemory }),
  })
  using memory = openMemory(ram.pid)
  const sources = { memoryFd: memory.fd, ramStart: ram.start, baseFd: base?.fd ?? -1 }
  await copyPieces(pieces, (piece, chunk, offset) => readPiece(piece, chunk, offset, sources), writer, options)
  return writer.seal()
}

export interface FoldDeltaOptions extends CopyOptions {
  /** id of the new base */
  id: string
  /** size of the guest RAM */
  sizeBytes: number
  delta: Delta
  /** the base under the delta; absent for anonymous memory */
  base?: OpenBase
  readMemory?: ReadMemoryInfo
}

/**
 * As `foldBase`, from a delta that was copied before: the vm runs on meanwhile.
 *
 * @throws RametError `NO_CAPACITY`; the signal's reason when aborted
 */
export async function foldDelta(options: FoldDeltaOptions): Promise<OpenBase> {
  const { id, sizeBytes, delta, base, signal, readMemory } = options
  const pieces = mergeSources(delta.runs, base === undefined ? [] : dataExtents(base.fd, base.sizeBytes))
  const positions = new Map<number, number>()
  let position = 0
  for (const run of delta.runs) {
    positions.set(run.offsetBytes, position)
    position += run.lengthBytes
  }
  using writer = await BaseWriter.create({
    id,
    sizeBytes,
    data: pieces,
    ...(signal === undefined ? {} : { signal }),
    ...(readMemory === undefined ? {} : { readMemory }),
  })
  const read: ReadPiece = (piece, chunk, offset) => {
    if (piece.source === 'base') return readFully(base?.fd ?? -1, chunk, 0, chunk.length, offset)
    const start = (positions.get(piece.offsetBytes) ?? 0) + offset - piece.offsetBytes
    delta.bytes.copy(chunk, 0, start, start + chunk.length)
  }
  await copyPieces(pieces, read, writer, options)
  return writer.seal()
}

/** Fills `chunk` with guest RAM from `offsetBytes` on, which lies within the piece. */
type ReadPiece = (piece: Piece, chunk: Buffer, offsetBytes: number) => void

async function copyPieces(pieces: readonly Piece[], read: ReadPiece, writer: BaseWriter, options: CopyOptions) {
  const total = totalBytes(pieces)
  const buffer = Buffer.allocUnsafeSlow(limits.memoryChunkBytes)
  let done = 0
  let breath = 0
  for (const piece of pieces) {
    for (let at = 0; at < piece.lengthBytes; ) {
      const chunk = buffer.subarray(0, Math.min(piece.lengthBytes - at, buffer.length))
      read(piece, chunk, piece.offsetBytes + at)
      writeChunk(writer, chunk, piece.offsetBytes + at)
      at += chunk.length
      done += chunk.length
      breath += chunk.length
      if (breath < limits.memoryChunkBytes) continue
      breath = 0
      options.onProgress?.(done, total)
      options.signal?.throwIfAborted()
      await breathe()
    }
  }
  options.onProgress?.(total, total)
}

function writeChunk(writer: BaseWriter, chunk: Buffer, offsetBytes: number): void {
  for (const { offsetBytes: at, lengthBytes, zero } of splitByZero(chunk)) {
    if (zero) writer.leaveHole(offsetBytes + at, lengthBytes)
    else writer.write(chunk.subarray(at, at + lengthBytes), offsetBytes + at)
  }
}

interface Sources {
  memoryFd: number
  ramStart: number
  baseFd: number
}

function readPiece(piece: Piece, chunk: Buffer, offsetBytes: number, sources: Sources): void {
  if (piece.source === 'vm') readFully(sources.memoryFd, chunk, 0, chunk.length, sources.ramStart + offsetBytes)
  else readFully(sources.baseFd, chunk, 0, chunk.length, offsetBytes)
}
