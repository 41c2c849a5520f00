/**
 * A second thread that takes its part of copying large deltas: one core reads memory at about half the speed of
 * two. There is one for the whole process, from the first large delta on. Nobody depends on it: a job that it has
 * no time for is done without it.
 */
import { setImmediate as breathe } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { errnoError } from '../host/libc.ts'
import { RametError } from '../shared/errors.ts'
import { type CopyJob, slot } from './copy-job.ts'

let helper: Worker | undefined
let up: Promise<void> | undefined
let isUp = false

/**
 * Starts the thread, if there is none: in good time before a job, since that takes some 100 ms.
 *
 * @returns resolves when it is up, or could not be started; never rejects
 */
export function prepareHelp(): Promise<void> {
  if (up !== undefined) return up
  const answered = Promise.withResolvers<void>()
  up = answered.promise
  const thread = new Worker(new URL('./copy-worker.ts', import.meta.url), {
    resourceLimits: { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 2 },
  })
  helper = thread
  thread.once('message', () => {
    isUp = true
    // From here on it keeps nobody from ending.
    thread.unref()
    answered.resolve()
  })
  // Its end follows.
  thread.on('error', () => {})
  thread.once('exit', () => {
    helper = undefined
    up = undefined
    isUp = false
    answered.resolve()
  })
  return answered.promise
}

/** Gives the thread a job to take part in, if it is up. */
export function askForHelp(job: CopyJob): void {
  if (isUp) helper?.postMessage(job)
}

/**
 * Resolves when the thread copies nothing of a job any more, all of whose batches are claimed: after one batch
 * at the most, so a turn of the loop after another is quicker than being told.
 *
 * @throws ErrnoError as `readProcessMemory`, when it could not copy what it had claimed; RametError `INTERNAL` when it died
 */
export async function helpOver({ state }: CopyJob): Promise<void> {
  while (Atomics.load(state, slot.helping) > 0) {
    if (helper === undefined) throw new RametError('INTERNAL', { message: 'the thread that copied memory has ended' })
    await breathe()
  }
  const errno = Atomics.load(state, slot.failed)
  if (errno > 0) throw errnoError('process_vm_readv', errno)
}
