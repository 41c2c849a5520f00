/** The QEMU that is restored, as whoever starts it sees it: its memory comes from a `PostcopySource` elsewhere. */
import { isRametError, RametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import type { QemuProcess } from '../process.ts'
import type { QmpEvent } from '../qmp-wire.ts'

/** What is needed of it. */
export type RestoringQemu = Pick<QemuProcess, 'qmp' | 'runState' | 'failure'>

type Options = { signal?: AbortSignal | undefined }

/**
 * Makes a QEMU that was started to be loaded wait for a source to connect.
 *
 * @param socketName in its working directory
 * @throws RametError `HOST_UNFIT` when this host does not let it wait for single pages; `QMP_FAILED`
 */
export async function listenForSource(qemu: RestoringQemu, socketName: string, options: Options = {}): Promise<void> {
  const capabilities = ['events', 'postcopy-ram'].map((capability) => ({ capability, state: true }))
  try {
    await qemu.qmp.execute('migrate-set-capabilities', { capabilities }, options)
  } catch (error) {
    throw refusedPostcopy(error)
  }
  await qemu.qmp.execute('migrate-incoming', { uri: `unix:${socketName}` }, options)
}

/** QEMU has said no, rather than nothing. */
function refusedPostcopy(error: unknown): unknown {
  const refusal = isRametError(error, 'QMP_FAILED') ? error.details.desc : undefined
  if (typeof refusal !== 'string') return error
  return new RametError('HOST_UNFIT', {
    message: `QEMU cannot wait for single pages of memory here: ${refusal}`,
    cause: error,
    remediation:
      'Allow userfaultfd: run the daemon as root on a kernel with /dev/userfaultfd, or set the sysctl vm.unprivileged_userfaultfd=1. Until then memory is loaded before a vm runs.',
    details: { feature: 'userfaultfd' },
  })
}

/**
 * Resolves when the guest is there and stands: its devices are loaded, its memory comes from now on. To be called
 * before the source connects, so that nothing is missed.
 *
 * @throws RametError `VMM_FAILED` with the end of QEMU's log, which has ended then or is about to; the signal's reason
 */
export async function untilRestored(qemu: RestoringQemu, options: Options = {}): Promise<void> {
  const waiting = { timeoutMs: limits.incomingTimeoutMs, signal: options.signal }
  const event = await qemu.qmp.waitEvent('MIGRATION', isDecided, waiting).catch((error: unknown) => {
    options.signal?.throwIfAborted()
    throw qemu.failure('QEMU could not be restored', error)
  })
  if (event.data.status === 'failed') throw qemu.failure('QEMU could not be restored')
  // It loads its devices now and says nothing when it has; but it does not answer while it is at it.
  const endMs = performance.now() + limits.incomingTimeoutMs
  while (performance.now() < endMs) {
    options.signal?.throwIfAborted()
    if ((await qemu.runState()) !== 'inmigrate') return
  }
  throw qemu.failure(`QEMU has not loaded its devices within ${limits.incomingTimeoutMs} ms`)
}

const isDecided = ({ data }: QmpEvent) =>
  data.status === 'postcopy-active' || data.status === 'completed' || data.status === 'failed'

/**
 * Makes a QEMU whose source is gone wait for another one. The command goes past QEMU's main thread, which may itself be
 * waiting for a page.
 *
 * @param socketName another one than before
 * @returns completed: it needs nobody any more, since all of its memory had come
 * @throws RametError `QMP_FAILED` when it neither notices that its source is gone nor is complete; the signal's reason
 */
export async function listenAgain(
  qmp: RestoringQemu['qmp'],
  socketName: string,
  options: Options = {},
): Promise<'listening' | 'completed'> {
  const over = new AbortController()
  const signal = options.signal === undefined ? over.signal : AbortSignal.any([options.signal, over.signal])
  const noticed = qmp.waitEvent('MIGRATION', isPausedOrOver, { timeoutMs: limits.qmpTimeoutMs, signal })
  noticed.catch(() => {})
  try {
    for (let attempt = 0; ; attempt += 1) {
      try {
        await qmp.execute('migrate-recover', { uri: `unix:${socketName}` }, { oob: true, signal: options.signal })
        return 'listening'
      } catch (error) {
        if (attempt > 0 || !isRametError(error, 'QMP_FAILED') || error.details.desc === undefined) throw error
      }
      // Not paused: not yet, or not any more. One that has completed answers in its turn; another one may not.
      const status = await Promise.race([noticed.then(({ data }) => data.status), statusOf(qmp, signal)])
      if (status === 'completed') return 'completed'
    }
  } finally {
    over.abort()
  }
}

const isPausedOrOver = ({ data }: QmpEvent) => data.status === 'postcopy-paused' || data.status === 'completed'

/** Stays open while it is on its way to one of the two that matter: an event tells of them. */
async function statusOf(qmp: RestoringQemu['qmp'], signal: AbortSignal): Promise<unknown> {
  try {
    const { status } = await qmp.execute<{ status?: string }>('query-migrate', undefined, { signal })
    // Without a migration there is nothing more to come.
    if (status === undefined || status === 'completed') return 'completed'
    if (status === 'postcopy-paused') return status
  } catch {
    // The event decides, or its absence.
  }
  return new Promise<never>(() => {})
}
