import { setImmediate as breathe } from 'node:timers/promises'
import type { ReadMemoryInfo } from '../host/meminfo.ts'
import { populate, preferHugePages } from '../host/populate.ts'
import { errnoOf, RametError } from '../shared/errors.ts'
import { faultPoint } from '../shared/fault.ts'
import { formatBytes, limits } from '../shared/limits.ts'
import { checkMemoryFor } from './base.ts'

export interface ResidentOptions {
  signal?: AbortSignal
  readMemory?: ReadMemoryInfo
}

/**
 * A buffer whose pages are all in memory already, so that copying into it meets no page fault. Its content is undefined.
 *
 * @throws RametError `NO_CAPACITY`; the signal's reason when aborted
 */
export async function residentBuffer(bytes: number, options: ResidentOptions = {}): Promise<Buffer> {
  checkMemoryFor(bytes, 'a copy of what a vm has changed in memory', options.readMemory)
  try {
    const buffer = Buffer.allocUnsafeSlow(bytes)
    preferHugePages(buffer)
    for (let at = 0; at < bytes; at += limits.memoryPopulateBytes) {
      options.signal?.throwIfAborted()
      faultPoint('memory.buffer')
      populate(buffer.subarray(at, at + limits.memoryPopulateBytes))
      await breathe()
    }
    return buffer
  } catch (error) {
    if (!isShort(error)) throw error
    const message = `no memory for a copy of ${formatBytes(bytes)} that a vm has changed`
    throw new RametError('NO_CAPACITY', { message, cause: error })
  }
}

// V8 says `RangeError`, Node and the kernel have codes.
const isShort = (error: unknown) =>
  error instanceof RangeError || ['ENOMEM', 'ERR_MEMORY_ALLOCATION_FAILED'].includes(errnoOf(error) ?? '')
