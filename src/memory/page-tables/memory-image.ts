/** The memory of a guest that stands still, as its page tables are looked for in it. */
import { readSync } from 'node:fs'
import { dataExtents } from '../../host/extents.ts'
import { assert } from '../../shared/assert.ts'
import { RametError } from '../../shared/errors.ts'
import type { Run } from '../base.ts'
import { mergeSources, type Piece } from '../merge-sources.ts'

export interface MemoryImage {
  /** whole pages */
  readonly sizeBytes: number
  /** what may hold something, ascending, whole pages; the rest are holes, which are zeros */
  readonly data: readonly Run[]
  /**
   * Fills `bytes` with the content from `offsetBytes` on; holes are read as zeros.
   *
   * @throws RametError `INTERNAL` when the file is shorter than it was said to be; system errors
   */
  read(bytes: Uint8Array, offsetBytes: number): void
}

/** An image in one file: a base, a memory file, a file on disk. Whoever opened it closes it. */
export function imageOfFile(fd: number, sizeBytes: number): MemoryImage {
  return {
    sizeBytes,
    data: dataExtents(fd, sizeBytes),
    read: (bytes, offsetBytes) => readFile(fd, bytes, offsetBytes),
  }
}

export interface ImageOverBaseOptions {
  /** descriptor of the base; absent for memory that was zeros at first */
  baseFd?: number
  sizeBytes: number
  /** private pages of the vm, ascending: what they hold hides the base */
  runs: readonly Run[]
  /** bytes of all runs, one after another, as `Delta` has them */
  bytes: Uint8Array
}

/** A base with the private pages of one vm over it. */
export function imageOverBase(options: ImageOverBaseOptions): MemoryImage {
  const { baseFd, sizeBytes, runs, bytes: delta } = options
  const positions = new Map<number, number>()
  let position = 0
  for (const run of runs) {
    positions.set(run.offsetBytes, position)
    position += run.lengthBytes
  }
  assert(position === delta.length, 'a delta has the bytes of its runs')
  const pieces = mergeSources(runs, baseFd === undefined ? [] : dataExtents(baseFd, sizeBytes))
  const readPiece = (piece: Piece, bytes: Uint8Array, offsetBytes: number) => {
    if (piece.source === 'base') return readFile(baseFd ?? -1, bytes, offsetBytes)
    const start = (positions.get(piece.offsetBytes) ?? 0) + offsetBytes - piece.offsetBytes
    bytes.set(delta.subarray(start, start + bytes.length))
  }
  return {
    sizeBytes,
    data: joinRuns(pieces),
    read: (bytes, offsetBytes) => {
      const end = offsetBytes + bytes.length
      let at = offsetBytes
      for (let index = firstEndingAfter(pieces, at); at < end; index += 1) {
        const piece = pieces[index]
        const start = Math.min(piece?.offsetBytes ?? end, end)
        if (start > at) bytes.fill(0, at - offsetBytes, start - offsetBytes)
        at = Math.max(at, start)
        if (piece === undefined || at === end) break
        const stop = Math.min(piece.offsetBytes + piece.lengthBytes, end)
        readPiece(piece, bytes.subarray(at - offsetBytes, stop - offsetBytes), at)
        at = stop
      }
    },
  }
}

/** Index of the first run that ends behind a place; their number when none does. */
function firstEndingAfter(runs: readonly Run[], offsetBytes: number): number {
  let low = 0
  let high = runs.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const run = runs[middle]
    if (run !== undefined && run.offsetBytes + run.lengthBytes <= offsetBytes) low = middle + 1
    else high = middle
  }
  return low
}

function joinRuns(runs: readonly Run[]): Run[] {
  const joined: { offsetBytes: number; lengthBytes: number }[] = []
  for (const { offsetBytes, lengthBytes } of runs) {
    const last = joined.at(-1)
    if (last !== undefined && last.offsetBytes + last.lengthBytes === offsetBytes) last.lengthBytes += lengthBytes
    else joined.push({ offsetBytes, lengthBytes })
  }
  return joined
}

function readFile(fd: number, bytes: Uint8Array, offsetBytes: number): void {
  for (let done = 0; done < bytes.length; ) {
    const got = readSync(fd, bytes, done, bytes.length - done, offsetBytes + done)
    if (got === 0) throw new RametError('INTERNAL', { message: `a memory image ends at ${offsetBytes + done}` })
    done += got
  }
}
