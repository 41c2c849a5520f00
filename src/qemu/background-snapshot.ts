/**
 * QEMU's background snapshot: the guest stands only while its pages are protected against writing; then it runs, and
 * QEMU sends them as they were, each before it changes. All names of it inside QEMU are here.
 */
import { closeSync, readSync } from 'node:fs'
import { setImmediate as breathe, setTimeout as delay } from 'node:timers/promises'
import { createMemfd, punchHole, reserveBeyondEnd } from '../host/memfd.ts'
import { isRametError, type RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import { resumeGuest } from './incoming.ts'
import type { QemuProcess } from './process.ts'
import type { QmpEvent } from './qmp-wire.ts'

const descriptorName = 'background'

/**
 * Why this QEMU cannot do it; undefined when it can. The capability stays on in that case.
 *
 * @throws RametError `QMP_FAILED` when QEMU does not answer
 */
export async function enableBackground(qemu: QemuProcess): Promise<string | undefined> {
  // One whose daemon died may still be at it.
  await untilOver(qemu)
  try {
    await setCapabilities(qemu, { events: true, 'background-snapshot': true })
    return undefined
  } catch (error) {
    const refusal = isRametError(error, 'QMP_FAILED') ? error.details.desc : undefined
    if (typeof refusal !== 'string') throw error
    return refusal
  }
}

/**
 * Waits for the end of whatever there is of a background snapshot, also of one that another daemon began, and turns the
 * capability off, which would stand in the way of other captures.
 *
 * It is never cancelled: a QEMU (7.2) that gives up while one of its threads waits for a page to be sent, with the lock
 * of the whole process in its hands, waits for that lock for ever. Left alone it comes to its end within seconds.
 */
export async function disableBackground(qemu: QemuProcess): Promise<void> {
  await untilOver(qemu)
  await setCapabilities(qemu, { 'background-snapshot': false })
  // Of one that never began QEMU still has the file, and with it the memory reserved.
  await qemu.qmp.execute('closefd', { fdname: descriptorName }).catch((error: unknown) => {
    if (!isRametError(error, 'QMP_FAILED') || error.details.desc === undefined) throw error
  })
}

export interface PrepareOptions {
  /** about what the stream will take: reserved here, by us, so that it is not accounted to the vm */
  reserveBytes: number
  signal?: AbortSignal
}

/**
 * One capture, from what can be done before the pause to the end of the stream. QEMU writes into a memory file, not
 * into a socket: a file is always ready, so neither a slow reader nor one that dies (this daemon) can hold up the
 * guest, which may have to wait for a page to be sent.
 */
export class BackgroundSnapshot implements AsyncDisposable {
  readonly #qemu: QemuProcess
  readonly #fd: number
  #position = 0

  private constructor(qemu: QemuProcess, fd: number) {
    this.#qemu = qemu
    this.#fd = fd
  }

  /**
   * Readies a QEMU whose capability is on; the guest goes on as before.
   *
   * @throws RametError `QMP_FAILED`; the signal's reason
   */
  static async prepare(qemu: QemuProcess, { reserveBytes, signal }: PrepareOptions): Promise<BackgroundSnapshot> {
    await qemu.qmp.execute('migrate-set-parameters', { 'max-bandwidth': limits.streamBytesPerSecond })
    const fd = createMemfd('ramet-stream', 0)
    try {
      for (let at = 0; at < reserveBytes; at += limits.memoryChunkBytes) {
        signal?.throwIfAborted()
        reserveBeyondEnd(fd, at, limits.memoryChunkBytes)
        await breathe()
      }
      await qemu.qmp.execute('getfd', { fdname: descriptorName }, { descriptor: fd })
      return new BackgroundSnapshot(qemu, fd)
    } catch (error) {
      closeSync(fd)
      throw error
    }
  }

  /**
   * Takes the stopped guest's state, and returns when it runs again.
   *
   * @throws RametError `VMM_FAILED` when QEMU could not; the guest stands then, or runs
   */
  async begin(): Promise<void> {
    const { qmp } = this.#qemu
    const cut = new AbortController()
    const waiting = { timeoutMs: limits.qmpTimeoutMs, signal: cut.signal }
    const resumed = qmp.waitEvent('RESUME', undefined, waiting)
    const failed = qmp.waitEvent('MIGRATION', (event) => event.data.status === 'failed', waiting)
    resumed.catch(() => {})
    failed.catch(() => {})
    try {
      await qmp.execute('migrate', { uri: `fd:${descriptorName}` })
      const isFailure = await Promise.race([resumed.then(() => false), failed.then(() => true)])
      if (isFailure) throw await this.#failure()
    } finally {
      cut.abort()
    }
  }

  /**
   * Gives the whole stream to `push`, while QEMU writes it. What was read is given back at once.
   *
   * @param push the chunk is valid during the call only
   * @throws RametError `VMM_FAILED`; what `push` throws; the signal's reason
   */
  async read(push: (chunk: Buffer) => void, signal?: AbortSignal): Promise<void> {
    const buffer = Buffer.allocUnsafeSlow(limits.streamReadBytes)
    const over = untilOver(this.#qemu)
    let isOver = false
    const noticed = over.then(() => {
      isOver = true
    })
    noticed.catch(() => {})
    for (;;) {
      signal?.throwIfAborted()
      // Looked at before the file is: what was written until then is in it.
      const wasOver = isOver
      const count = readSync(this.#fd, buffer, 0, buffer.length, this.#position)
      if (count > 0) {
        push(buffer.subarray(0, count))
        punchHole(this.#fd, this.#position, count)
        this.#position += count
        await breathe()
      } else if (wasOver) break
      // Nobody tells when a file becomes longer.
      else await Promise.race([noticed, delay(limits.streamPollMs)])
    }
    if ((await statusOf(this.#qemu)) !== 'completed') throw await this.#failure()
  }

  /** Nothing of it is left in QEMU, whose guest runs. */
  async [Symbol.asyncDispose](): Promise<void> {
    closeSync(this.#fd)
    if (!this.#qemu.qmp.isOpen) return
    await disableBackground(this.#qemu)
  }

  async #failure(): Promise<RametError> {
    const { 'error-desc': why } = await this.#qemu.qmp.execute<{ 'error-desc'?: string }>('query-migrate')
    return this.#qemu.failure(`QEMU could not capture the guest in the background${why ? ` (${why})` : ''}`)
  }
}

/** Lets a guest run that a capture may have left standing. */
export async function ensureRunning(qemu: QemuProcess): Promise<void> {
  if ((await qemu.runState()) !== 'running') await resumeGuest(qemu)
}

async function setCapabilities(qemu: QemuProcess, states: Record<string, boolean>): Promise<void> {
  const capabilities = Object.entries(states).map(([capability, state]) => ({ capability, state }))
  await qemu.qmp.execute('migrate-set-capabilities', { capabilities })
}

const overStates = new Set(['', 'none', 'completed', 'failed', 'cancelled'])
const isFinal = ({ data }: QmpEvent) => typeof data.status === 'string' && overStates.has(data.status)

/** Empty for a QEMU that never began one. */
async function statusOf(qemu: QemuProcess): Promise<string> {
  return (await qemu.qmp.execute<{ status?: string }>('query-migrate')).status ?? ''
}

/** Whether it came to a good end or not. */
async function untilOver(qemu: QemuProcess): Promise<void> {
  const cut = new AbortController()
  const ended = qemu.qmp.waitEvent('MIGRATION', isFinal, { timeoutMs: limits.backgroundTimeoutMs, signal: cut.signal })
  ended.catch(() => {})
  try {
    if (!overStates.has(await statusOf(qemu))) await ended
  } finally {
    cut.abort()
  }
}
