import { type FSWatcher, watch } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { dirname } from 'node:path'
import { requirePeer } from '../host/peer.ts'
import type { ProcessIdentity } from '../host/process-identity.ts'
import { errnoOf, RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import { QmpClient, type WaitOptions } from './qmp.ts'

/** Between `bind` and `listen` a socket file exists that refuses; nothing announces the second step. */
const refusedRetryMs = 1

export interface ConnectOptions extends WaitOptions {
  /** the process that must be the one that listens */
  readonly peer?: ProcessIdentity
}

/** Longest socket path that the kernel takes, with its end mark. */
const socketPathMaxBytes = 107

/**
 * Connects to the QMP socket at `path`, waiting for the file to appear. The signal must fire when the
 * process dies, since then it never will.
 *
 * @throws RametError `QMP_FAILED` when it takes longer than `timeoutMs` (default
 *   `limits.qmpConnectTimeoutMs`), `VMM_FAILED` when another process listens there, or the signal's reason
 */
export async function connectQmp(path: string, options: ConnectOptions = {}): Promise<QmpClient> {
  const timeoutMs = options.timeoutMs ?? limits.qmpConnectTimeoutMs
  const socket = await connectSocket(path, { ...options, timeoutMs })
  try {
    if (options.peer !== undefined) requirePeer(socket, options.peer, path)
  } catch (error) {
    socket.destroy()
    throw error
  }
  return await QmpClient.open(socket, { ...options, timeoutMs })
}

/** As `connectQmp`, for any unix socket that another process is about to make. */
export async function connectSocket(path: string, options: WaitOptions & { timeoutMs: number }): Promise<Socket> {
  if (Buffer.byteLength(path) > socketPathMaxBytes)
    throw new RametError('INVALID_ARGUMENT', {
      message: `socket path longer than ${socketPathMaxBytes} bytes: ${path}`,
    })
  return await retryOnChange(path, options, async () => {
    const result = await attempt(path)
    return typeof result === 'string' ? { again: result === 'ECONNREFUSED' ? 'soon' : 'on change' } : { value: result }
  })
}

type Outcome<T> = { value: T } | { again: 'on change' | 'soon' }

/** Tries now and after each change of the directory, until there is a value. */
async function retryOnChange<T>(
  path: string,
  options: WaitOptions & { timeoutMs: number },
  attemptOnce: () => Promise<Outcome<T>>,
): Promise<T> {
  options.signal?.throwIfAborted()
  const stop = Promise.withResolvers<never>()
  stop.promise.catch(() => {})
  const onAbort = () => stop.reject(options.signal?.reason)
  options.signal?.addEventListener('abort', onAbort, { once: true })
  const timer = setTimeout(() => stop.reject(neverCame(path, options.timeoutMs)), options.timeoutMs)
  // Watching starts before the first attempt, so that no appearance falls between the two.
  const directory = new DirectoryChanges(dirname(path))
  try {
    for (;;) {
      const changed = directory.next()
      const outcome = await attemptOnce()
      if ('value' in outcome) return outcome.value
      const soon = outcome.again === 'soon' ? [delay(refusedRetryMs)] : []
      await Promise.race([changed, stop.promise, ...soon])
    }
  } finally {
    clearTimeout(timer)
    options.signal?.removeEventListener('abort', onAbort)
    directory.close()
  }
}

/** The connected socket, or why it is not there yet. */
function attempt(path: string): Promise<Socket | string> {
  return new Promise((resolve, reject) => {
    const socket = connect(path)
    socket.once('connect', () => resolve(socket))
    // Stays for good: an error between here and the client's own listener must not end the daemon.
    socket.on('error', (error) => {
      const code = errnoOf(error)
      if (code === 'ENOENT' || code === 'ECONNREFUSED') resolve(code)
      else reject(new RametError('QMP_FAILED', { message: `cannot connect to ${path}`, cause: error }))
    })
  })
}

class DirectoryChanges {
  readonly #watcher: FSWatcher
  #next = Promise.withResolvers<void>()

  constructor(directory: string) {
    this.#watcher = watch(directory, { persistent: true }, () => {
      this.#next.resolve()
      this.#next = Promise.withResolvers()
    })
    this.#watcher.on('error', () => this.#next.resolve())
  }

  next(): Promise<void> {
    return this.#next.promise
  }

  close(): void {
    this.#watcher.close()
  }
}

const delay = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

const neverCame = (path: string, timeoutMs: number) =>
  new RametError('QMP_FAILED', { message: `no socket at ${path} within ${timeoutMs} ms` })
