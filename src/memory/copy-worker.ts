/** The thread of `copy-helper.ts`. */
import { constants } from 'node:os'
import { parentPort } from 'node:worker_threads'
import { type CopyJob, copyNext, slot, stopCopy } from './copy-job.ts'

parentPort?.on('message', (job: CopyJob) => {
  const { state } = job
  // Before anything is claimed: who finds all claimed and nobody helping can be sure that nothing is under way.
  Atomics.add(state, slot.helping, 1)
  try {
    while (copyNext(job) > 0);
  } catch (error) {
    Atomics.store(state, slot.failed, errnoNumberOf(error))
    stopCopy(job)
  }
  Atomics.sub(state, slot.helping, 1)
})
parentPort?.postMessage('up')

function errnoNumberOf(error: unknown): number {
  const errno = error instanceof Error && 'errno' in error ? Math.abs(Number(error.errno)) : 0
  return errno > 0 ? errno : constants.errno.EIO
}
