/**
 * Copying many ranges of another process's memory into one buffer, as a job that several threads take their
 * part of: it is cut into batches, and whoever is free claims the next.
 */
import { addressOf } from '../host/libc.ts'
import { maxRanges, readProcessMemory } from '../host/process-memory.ts'
import { limits } from '../shared/limits.ts'
import type { Run } from './base.ts'

/** Shared memory only, so that it can be posted to another thread as it is. */
export interface CopyJob {
  readonly pid: number
  /** address and length of each range in the other process */
  readonly ranges: Float64Array
  /** of each batch: first range, behind the last range, address in this process, bytes */
  readonly batches: Float64Array
  /** what the threads tell each other, by `slot` */
  readonly state: Int32Array
}

/** `next` batch that nobody has claimed; `helping` threads other than the one that waits; `failed` errno of theirs */
export const slot = { next: 0, helping: 1, failed: 2 } as const
const slotCount = 3
const batchWords = 4

/** Plans the copy of `runs`, one after another, into `bytes`, which the caller keeps alive until nobody copies any more. */
export function planCopy(pid: number, start: number, runs: readonly Run[], bytes: Buffer): CopyJob {
  const ranges: number[] = []
  const batches: number[] = []
  let first = 0
  let open = 0
  let address = addressOf(bytes)
  const close = () => {
    if (open > 0) batches.push(first, ranges.length / 2, address, open)
    first = ranges.length / 2
    address += open
    open = 0
  }
  for (const { offsetBytes, lengthBytes } of runs) {
    for (let at = 0; at < lengthBytes; ) {
      const length = Math.min(lengthBytes - at, limits.memoryChunkBytes - open)
      ranges.push(start + offsetBytes + at, length)
      at += length
      open += length
      if (open === limits.memoryChunkBytes || ranges.length / 2 - first === maxRanges) close()
    }
  }
  close()
  return {
    pid,
    ranges: shared(ranges),
    batches: shared(batches),
    state: new Int32Array(new SharedArrayBuffer(slotCount * 4)),
  }
}

function shared(words: readonly number[]): Float64Array {
  const array = new Float64Array(new SharedArrayBuffer(words.length * Float64Array.BYTES_PER_ELEMENT))
  array.set(words)
  return array
}

/**
 * Copies the next batch that nobody has claimed.
 *
 * @returns its bytes; 0 when there was none left
 * @throws ErrnoError as `readProcessMemory`
 */
export function copyNext({ pid, ranges, batches, state }: CopyJob): number {
  const at = Atomics.add(state, slot.next, 1) * batchWords
  if (at >= batches.length) return 0
  const [first = 0, end = 0, address = 0, bytes = 0] = batches.subarray(at, at + batchWords)
  readProcessMemory(pid, ranges.subarray(first * 2, end * 2), address, bytes)
  return bytes
}

/** Whether every batch has somebody who copies it, or has copied it. */
export function isClaimed({ batches, state }: CopyJob): boolean {
  return Atomics.load(state, slot.next) * batchWords >= batches.length
}

/** Nobody claims a batch any more; those under way are finished. */
export function stopCopy({ batches, state }: CopyJob): void {
  Atomics.store(state, slot.next, batches.length / batchWords)
}
