/** What a vm has over its base, copied while it stands still. */
import { setImmediate as breathe } from 'node:timers/promises'
import { errnoOf, RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import type { Run } from './base.ts'
import { askForHelp, helpOver } from './copy-helper.ts'
import { type CopyJob, copyNext, isClaimed, planCopy, stopCopy } from './copy-job.ts'
import type { GuestRam } from './guest-ram.ts'
import { totalBytes } from './private-runs.ts'
import { openMemory, readFully } from './vm-memory.ts'

/** A vm's private pages: the bytes of all runs, one after another. */
export interface Delta {
  readonly runs: readonly Run[]
  readonly bytes: Buffer
}

/**
 * Copies the runs of a stopped vm. Pages of zeros are kept: they may hide a page of the base. Others have a turn
 * between chunks of `limits.memoryChunkBytes`, a millisecond or two each. Nobody writes to the buffer any more when
 * this has ended, whichever way.
 *
 * @param buffer at least as long as all runs; a resident one (`residentBuffer`) is several times as fast
 * @throws RametError `VMM_FAILED`, `PRIVILEGE`; the signal's reason when aborted
 */
export async function copyDelta(
  ram: GuestRam,
  runs: readonly Run[],
  buffer?: Buffer,
  options: { signal?: AbortSignal } = {},
): Promise<Delta> {
  const total = totalBytes(runs)
  const bytes = (buffer ?? Buffer.allocUnsafeSlow(total)).subarray(0, total)
  try {
    await copyDirectly(planCopy(ram.pid, ram.start, runs, bytes), options)
  } catch (error) {
    if (!isRefusal(error)) throw asVmFailure(error)
    await copyThroughFile(ram, runs, bytes, options)
  }
  return { runs, bytes }
}

async function copyDirectly(job: CopyJob, { signal }: { signal?: AbortSignal }): Promise<void> {
  signal?.throwIfAborted()
  askForHelp(job)
  try {
    for (let copied = copyNext(job); copied > 0; copied = copyNext(job)) {
      signal?.throwIfAborted()
      if (!isClaimed(job)) await breathe()
    }
  } catch (error) {
    stopCopy(job)
    // Whatever became of the other thread's part: it is over, and this error is the first.
    await helpOver(job).catch(() => {})
    throw error
  }
  await helpOver(job)
}

/** Where the kernel has no such call, or does not let us. */
const isRefusal = (error: unknown) => ['ENOSYS', 'EPERM'].includes(errnoOf(error) ?? '')

function asVmFailure(error: unknown): unknown {
  if (!['ESRCH', 'EFAULT'].includes(errnoOf(error) ?? '')) return error
  return new RametError('VMM_FAILED', { message: 'guest memory cannot be read', cause: error })
}

/** The same one run at a time, through `/proc/PID/mem`, for any kernel. */
export async function copyThroughFile(
  ram: GuestRam,
  runs: readonly Run[],
  bytes: Buffer,
  options: { signal?: AbortSignal } = {},
): Promise<void> {
  using memory = openMemory(ram.pid)
  let done = 0
  let breath = 0
  for (const run of runs) {
    for (let at = 0; at < run.lengthBytes; ) {
      const length = Math.min(run.lengthBytes - at, limits.memoryChunkBytes)
      readFully(memory.fd, bytes, done, length, ram.start + run.offsetBytes + at)
      at += length
      done += length
      breath += length
      if (breath < limits.memoryChunkBytes) continue
      breath = 0
      options.signal?.throwIfAborted()
      await breathe()
    }
  }
}
