/** `process_vm_readv`: from another process's memory straight into ours, where `/proc/PID/mem` copies every page twice. */
import { constants } from 'node:os'
import { check, errnoError, processVmReadvRaw } from './libc.ts'

/** ranges that one call takes */
export const maxRanges = 1024

/**
 * Reads ranges of another process's memory, one after another, into this one's.
 *
 * @param ranges address and length of each, up to `maxRanges`
 * @param address where to, in this process; whoever owns it keeps it alive
 * @param bytes the sum of all lengths
 * @throws ErrnoError `ESRCH` when the process has ended, `EFAULT` for a range that it has not mapped, `EPERM`,
 *   `ENOSYS` on a kernel without the call
 */
export function readProcessMemory(pid: number, ranges: Float64Array, address: number, bytes: number): void {
  const local = vectors([address, bytes])
  const result = processVmReadvRaw(pid, local, 1, vectors(ranges), ranges.length / 2, 0)
  const got = Number(check('process_vm_readv', result, `process ${pid}`))
  // It stops short at the first page that it cannot read.
  if (got !== bytes) throw errnoError('process_vm_readv', constants.errno.EFAULT, `${got} of ${bytes} bytes`)
}

/** `struct iovec`, in halves: a BigInt each would cost more. */
function vectors(words: ArrayLike<number>): Uint32Array {
  const halves = new Uint32Array(words.length * 2)
  for (let index = 0; index < words.length; index += 1) {
    const word = words[index] ?? 0
    halves[index * 2] = word % 2 ** 32
    halves[index * 2 + 1] = Math.floor(word / 2 ** 32)
  }
  return halves
}
