import { Readable, type Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { limits } from '../shared/limits.ts'
import { inheritedFds } from './machine.ts'
import type { QemuProcess } from './process.ts'
import type { QmpEvent } from './qmp-wire.ts'

export interface LoadOptions {
  /** default `limits.incomingTimeoutMs` */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
}

/** Makes an incoming QEMU ready to load: what can be done before there is anything to load. */
export async function armIncoming(qemu: QemuProcess): Promise<void> {
  await qemu.qmp.execute('migrate-set-capabilities', { capabilities: [{ capability: 'events', state: true }] })
}

/**
 * Feeds a migration stream to an armed QEMU; afterwards its guest is there, paused. A QEMU that cannot
 * load ends itself.
 *
 * @throws RametError `VMM_FAILED` with the end of QEMU's log; or the signal's reason. Either way the
 *   process is of no more use: end it.
 */
export async function loadIncoming(
  qemu: QemuProcess,
  chunks: Iterable<Buffer> | AsyncIterable<Buffer>,
  options: LoadOptions = {},
): Promise<void> {
  const { incoming } = qemu
  if (incoming === undefined) throw qemu.failure('this QEMU was not started to load a stream by this daemon')
  const timeoutMs = options.timeoutMs ?? limits.incomingTimeoutMs
  const waiting = { timeoutMs, signal: options.signal }
  const loaded = qemu.qmp.waitEvent('MIGRATION', isFinal, waiting)
  // Whoever fails first is the error; the others are settled by the process's end.
  loaded.catch(() => {})
  try {
    await qemu.qmp.execute('migrate-incoming', { uri: `fd:${inheritedFds.incoming}` }, { signal: options.signal })
    const fed = feed(incoming, chunks, options.signal)
    const [event] = await Promise.all([loaded, fed])
    if (event.data.status !== 'completed') throw qemu.failure('QEMU could not load the guest')
  } catch (error) {
    options.signal?.throwIfAborted()
    throw qemu.failure('QEMU could not load the guest', error)
  } finally {
    // Nothing comes back on it, so its end would never be read: a descriptor a child, for ever.
    incoming.destroy()
  }
}

/**
 * Lets a paused guest run, and returns when it does: only from then on is input to it not lost. A guest
 * that runs already causes no event, and this times out; ask `runState` where that can be.
 *
 * @throws RametError `QMP_FAILED`, or the signal's reason
 */
export async function resumeGuest(qemu: QemuProcess, options: LoadOptions = {}): Promise<void> {
  await qemu.qmp.executeAwaiting('cont', undefined, { name: 'RESUME' }, options)
}

/** Stops the guest's processors, and returns when they stand. */
export async function pauseGuest(qemu: QemuProcess, options: LoadOptions = {}): Promise<void> {
  // A guest that does not run causes no STOP event; the command itself returns when all stand.
  await qemu.qmp.execute('stop', undefined, options)
}

const isFinal = (event: QmpEvent) => event.data.status === 'completed' || event.data.status === 'failed'

async function feed(
  stream: Writable,
  chunks: Iterable<Buffer> | AsyncIterable<Buffer>,
  signal: AbortSignal | undefined,
): Promise<void> {
  await pipeline(Readable.from(chunks, { objectMode: true }), stream, { end: true, ...(signal && { signal }) })
}
