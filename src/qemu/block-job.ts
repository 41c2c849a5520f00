import { RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import type { QemuProcess } from './process.ts'
import type { QmpEvent } from './qmp-wire.ts'

export interface BlockJob {
  /** one at a time with this id; found again by it after a restart of the daemon */
  id: string
  /** QMP command that starts it, without `job-id` */
  command: 'block-commit' | 'block-stream'
  arguments: object
  /** a job that mirrors an active disk is ready long before it ends, and ends when told */
  completes: 'by-itself' | 'when-told'
  /** aborted: the job is cancelled; what it did so far stays, and does no harm */
  signal?: AbortSignal
  /** called when it runs */
  onStarted?: () => void
  /**
   * Called when all is copied and nothing has changed hands yet: what must be durable before that, or gone. It may be
   * called again by a later daemon. From here on the job is not cancelled. A job that mirrors keeps the guest's own
   * reads and writes waiting meanwhile.
   */
  beforeEnd: () => Promise<void>
}

interface Job {
  id: string
  status: string
}

/**
 * Runs a job on a disk of a running guest to its end, or waits for the end of the one that an earlier daemon
 * has started.
 *
 * @throws RametError `NO_SPACE`, `VMM_FAILED` with what QEMU said; the signal's reason when aborted, once the job
 *   is gone
 */
export async function runBlockJob(qemu: QemuProcess, job: BlockJob): Promise<void> {
  const { id, signal } = job
  const { qmp } = qemu
  signal?.throwIfAborted()
  const waiting = { timeoutMs: limits.diskJobTimeoutMs }
  const states = watchStates(qemu, id)
  const over = qmp.waitEvent('JOB_STATUS_CHANGE', ({ data }) => data.id === id && data.status === 'null', waiting)
  const ready = qmp.waitEvent('JOB_STATUS_CHANGE', ({ data }) => data.id === id && data.status === 'ready', waiting)
  over.catch(() => {})
  ready.catch(() => {})
  const pending = qmp.waitEvent('JOB_STATUS_CHANGE', ({ data }) => data.id === id && data.status === 'pending', waiting)
  pending.catch(() => {})
  const cancel = () => void qmp.execute('block-job-cancel', { device: id, force: true }).catch(() => {})
  try {
    const known = (await qmp.execute<Job[]>('query-jobs')).find((candidate) => candidate.id === id)
    if (known === undefined) await qmp.execute(job.command, { 'job-id': id, 'auto-finalize': false, ...job.arguments })
    signal?.addEventListener('abort', cancel, { once: true })
    if (signal?.aborted) cancel()
    job.onStarted?.()
    if (known?.status !== 'pending') {
      if (job.completes === 'when-told') {
        if (known?.status !== 'ready') await Promise.race([ready, over])
        // One that has just been cancelled, or failed, is told in vain.
        await qmp.execute('job-complete', { id }).catch(() => {})
      }
      await Promise.race([pending, over])
    }
    signal?.removeEventListener('abort', cancel)
    if (!states.isOver() && !signal?.aborted) {
      await job.beforeEnd()
      await qmp.execute('job-finalize', { id })
    }
    await over
    states.check()
  } catch (error) {
    if (signal?.aborted) throw signal.reason
    throw error
  } finally {
    signal?.removeEventListener('abort', cancel)
    states.stop()
  }
}

/** A job says how it ended in another event than that it is gone. */
function watchStates(qemu: QemuProcess, id: string): { check: () => void; isOver: () => boolean; stop: () => void } {
  let failure: RametError | undefined
  let isOver = false
  const stop = qemu.qmp.onEvent((event: QmpEvent) => {
    const { name, data } = event
    if (name === 'JOB_STATUS_CHANGE' && data.id === id) isOver ||= data.status === 'aborting' || data.status === 'null'
    if (data.device !== id) return
    if (name === 'BLOCK_JOB_CANCELLED') failure = qemu.failure(`the job ${id} was cancelled`)
    if (name !== 'BLOCK_JOB_COMPLETED' || data.error === undefined) return
    const message = `the job ${id} failed: ${String(data.error)}`
    failure = /no space left|quota/i.test(message) ? new RametError('NO_SPACE', { message }) : qemu.failure(message)
  })
  return {
    check: () => {
      if (failure !== undefined) throw failure
    },
    isOver: () => isOver,
    stop,
  }
}

/**
 * Has QEMU write down all that it knows of a disk. It keeps the tables of what a job has copied in its own memory until
 * something asks for a flush, which the guest may never do.
 *
 * @throws RametError `VMM_FAILED`
 */
export async function flushNode(qemu: QemuProcess, node: string): Promise<void> {
  // The one command that does it: of HMP, silent when all went well.
  const said = await qemu.qmp.execute<string>('human-monitor-command', { 'command-line': `qemu-io ${node} "flush"` })
  if (said.trim() !== '') throw qemu.failure(`the disk ${node} could not be flushed: ${said.trim()}`)
}
