import { closeSync, openSync, readSync } from 'node:fs'
import { setImmediate as breathe } from 'node:timers/promises'
import { errnoOf, RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import type { CopyOptions } from './capture.ts'
import type { GuestRam } from './guest-ram.ts'

/**
 * Makes every page of a running guest's RAM present, by reading it from outside: write protection holds only for
 * pages that are there, and QEMU would otherwise fetch them while the guest stands, at about a second a GiB. Nothing
 * is copied for the vm: untouched pages are the kernel's page of zeros, or the base's own. Holes of a base that are
 * read so take memory from then on, as they do when a child reads them; a base is accounted at its full size.
 *
 * @throws RametError `VMM_FAILED`, `PRIVILEGE`; the signal's reason when aborted
 */
export async function prefault(ram: GuestRam, options: CopyOptions = {}): Promise<void> {
  const fd = openMemory(ram.pid)
  try {
    const scratch = Buffer.allocUnsafeSlow(limits.memoryChunkBytes)
    for (let done = 0; done < ram.sizeBytes; ) {
      options.signal?.throwIfAborted()
      const wanted = Math.min(scratch.length, ram.sizeBytes - done)
      const got = readSync(fd, scratch, 0, wanted, ram.start + done)
      if (got === 0) throw new RametError('VMM_FAILED', { message: 'the vm ended while its memory was read' })
      done += got
      options.onProgress?.(done, ram.sizeBytes)
      await breathe()
    }
  } catch (error) {
    if (errnoOf(error) === undefined || error instanceof RametError) throw error
    throw new RametError('VMM_FAILED', { message: 'guest memory cannot be read', cause: error })
  } finally {
    closeSync(fd)
  }
}

function openMemory(pid: number): number {
  try {
    return openSync(`/proc/${pid}/mem`, 'r')
  } catch (error) {
    const isForbidden = errnoOf(error) === 'EACCES' || errnoOf(error) === 'EPERM'
    const message = `the memory of process ${pid} cannot be opened`
    throw new RametError(isForbidden ? 'PRIVILEGE' : 'VMM_FAILED', { message, cause: error })
  }
}
