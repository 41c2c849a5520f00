import type { Socket } from 'node:net'
import { sendWithDescriptor } from '../host/pass-descriptor.ts'
import { RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import { encodeQmpCommand, LineSplitter, parseQmpMessage, type QmpEvent, type QmpMessage } from './qmp-wire.ts'

export interface ExecuteOptions {
  /** default `limits.qmpTimeoutMs` */
  timeoutMs?: number | undefined
  signal?: AbortSignal | undefined
  /** out of band: answered even while QEMU's main thread is stuck; few commands allow it */
  oob?: boolean | undefined
  /** descriptor of ours that goes with the command; QEMU gets one of its own, and this one stays open */
  descriptor?: number | undefined
}

export interface WaitOptions {
  timeoutMs?: number | undefined
  signal?: AbortSignal | undefined
}

export type EventPredicate = (event: QmpEvent) => boolean

interface Pending {
  command: string
  resolve(value: unknown): void
  reject(error: unknown): void
}

/**
 * A QMP session with one QEMU. QEMU serves one client at a time, so there is one of these per process;
 * events sent while nobody was connected are gone, and state must be re-read by query.
 */
export class QmpClient {
  /** settles when the connection has ended, for whatever reason; never rejects */
  readonly closed: Promise<void>
  readonly #socket: Socket
  readonly #splitter = new LineSplitter()
  readonly #pending = new Map<number, Pending>()
  readonly #listeners = new Set<(event: QmpEvent) => void>()
  readonly #greeting = Promise.withResolvers<string[]>()
  readonly #lost = new AbortController()
  #nextId = 1
  /** somebody else has read from this connection, perhaps the half of a line */
  #isResumed = false

  private constructor(socket: Socket) {
    this.#socket = socket
    // What waits for the connection's end may be nobody: that is no unhandled rejection.
    this.#greeting.promise.catch(() => {})
    const closed = Promise.withResolvers<void>()
    this.closed = closed.promise
    socket.on('data', (chunk: Buffer) => this.#receive(chunk))
    socket.on('error', (error) => this.#lose(error))
    socket.on('close', () => {
      this.#lose(undefined)
      closed.resolve()
    })
  }

  /**
   * Takes over a connected socket: reads the greeting and negotiates `oob`.
   *
   * @throws RametError `QMP_FAILED` when the far side does not speak QMP in time
   */
  static async open(socket: Socket, options: WaitOptions = {}): Promise<QmpClient> {
    const client = new QmpClient(socket)
    try {
      const timeoutMs = options.timeoutMs ?? limits.qmpTimeoutMs
      const capabilities = await client.#bounded('the QMP greeting', client.#greeting.promise, {
        ...options,
        timeoutMs,
      })
      const enable = capabilities.includes('oob') ? ['oob'] : []
      await client.execute('qmp_capabilities', { enable }, options)
      return client
    } catch (error) {
      client.close()
      throw error
    }
  }

  /**
   * Goes on with a connection whose capabilities somebody else has agreed on. What is still in it, answers to others
   * and old events, is read and forgotten.
   */
  static resume(socket: Socket): QmpClient {
    const client = new QmpClient(socket)
    client.#isResumed = true
    // Numbers that nobody has used on it.
    client.#nextId = Math.floor(performance.timeOrigin + performance.now())
    return client
  }

  get isOpen(): boolean {
    return !this.#lost.signal.aborted
  }

  /**
   * Runs one command and gives its `return` value.
   *
   * @throws RametError `QMP_FAILED`: QEMU refused (details: `command`, `class`, `desc`), did not answer in
   *   time (`timeoutMs`), or the connection ended (`lost: true`); or the signal's reason
   */
  async execute<T = unknown>(command: string, args?: object, options: ExecuteOptions = {}): Promise<T> {
    options.signal?.throwIfAborted()
    if (!this.isOpen) throw lostError(command, this.#lost.signal.reason)
    const id = this.#nextId++
    const reply = new Promise<unknown>((resolve, reject) => {
      this.#pending.set(id, { command, resolve, reject })
    })
    // Should sending fail, nobody waits for it.
    reply.catch(() => {})
    try {
      await this.#send(encodeQmpCommand(command, args, id, options.oob === true), options.descriptor)
      const timeoutMs = options.timeoutMs ?? limits.qmpTimeoutMs
      return (await this.#bounded(command, reply, { timeoutMs, signal: options.signal })) as T
    } finally {
      this.#pending.delete(id)
    }
  }

  async #send(line: string, descriptor: number | undefined): Promise<void> {
    if (descriptor === undefined) return void this.#socket.write(line)
    // It goes past Node's own queue, which is therefore emptied first.
    await new Promise<void>((resolve) => this.#socket.write('', () => resolve()))
    sendWithDescriptor(this.#socket, Buffer.from(line), descriptor)
  }

  /** Calls `listener` for each event until the returned function is called. */
  onEvent(listener: (event: QmpEvent) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /**
   * The next event of that name for which `predicate` holds. Listens from the moment of the call: call it
   * before the command that causes the event, or use `executeAwaiting`.
   *
   * @throws RametError `QMP_FAILED` after `timeoutMs` or when the connection ends; or the signal's reason
   */
  async waitEvent(name: string, predicate: EventPredicate = () => true, options: WaitOptions = {}): Promise<QmpEvent> {
    const found = Promise.withResolvers<QmpEvent>()
    const stop = this.onEvent((event) => {
      if (event.name === name && predicate(event)) found.resolve(event)
    })
    const onLost = () => found.reject(lostError(`the event ${name}`, this.#lost.signal.reason))
    this.#lost.signal.addEventListener('abort', onLost, { once: true })
    if (!this.isOpen) onLost()
    try {
      return await this.#bounded(`the event ${name}`, found.promise, options)
    } finally {
      this.#lost.signal.removeEventListener('abort', onLost)
      stop()
    }
  }

  /** Runs a command and waits for the event that it causes, without a gap between the two. */
  async executeAwaiting(
    command: string,
    args: object | undefined,
    event: { name: string; predicate?: EventPredicate },
    options: ExecuteOptions = {},
  ): Promise<QmpEvent> {
    const failed = new AbortController()
    const signal = options.signal ? AbortSignal.any([options.signal, failed.signal]) : failed.signal
    const timeoutMs = options.timeoutMs ?? limits.qmpTimeoutMs
    const seen = this.waitEvent(event.name, event.predicate, { timeoutMs, signal })
    const run = this.execute(command, args, options).catch((error: unknown) => {
      failed.abort(error)
      throw error
    })
    const [, result] = await Promise.all([run, seen])
    return result
  }

  /** Ends the connection; QEMU runs on. What is pending is rejected. */
  close(): void {
    this.#lose(undefined)
    this.#socket.destroy()
  }

  #receive(chunk: Buffer): void {
    try {
      for (const line of this.#splitter.push(chunk)) this.#takeLine(line)
    } catch (error) {
      this.#lose(error)
      this.#socket.destroy()
    }
  }

  #takeLine(line: string): void {
    const isFirst = this.#isResumed
    this.#isResumed = false
    try {
      this.#dispatch(parseQmpMessage(line))
    } catch (error) {
      if (!isFirst) throw error
    }
  }

  #dispatch(message: QmpMessage): void {
    switch (message.kind) {
      case 'greeting':
        this.#greeting.resolve(message.capabilities)
        break
      case 'event':
        for (const listener of this.#listeners) listener(message.event)
        break
      case 'return':
        this.#take(message.id)?.resolve(message.value)
        break
      case 'error': {
        const pending = this.#take(message.id)
        pending?.reject(refusal(pending.command, message.class, message.desc))
      }
    }
  }

  /** A reply to nobody is one that came after its time-out: dropped. */
  #take(id: unknown): Pending | undefined {
    return typeof id === 'number' ? this.#pending.get(id) : undefined
  }

  #lose(cause: unknown): void {
    if (!this.isOpen) return
    this.#lost.abort(cause)
    this.#greeting.reject(lostError('the QMP greeting', cause))
    for (const pending of this.#pending.values()) pending.reject(lostError(pending.command, cause))
    this.#pending.clear()
  }

  async #bounded<T>(what: string, work: Promise<T>, options: WaitOptions): Promise<T> {
    const { signal, timeoutMs } = options
    const stopped = Promise.withResolvers<never>()
    const onAbort = () => stopped.reject(signal?.reason)
    const timer =
      timeoutMs === undefined ? undefined : setTimeout(() => stopped.reject(late(what, timeoutMs)), timeoutMs)
    signal?.addEventListener('abort', onAbort, { once: true })
    if (signal?.aborted) onAbort()
    try {
      return await Promise.race([work, stopped.promise])
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      work.catch(() => {})
    }
  }
}

function refusal(command: string, errorClass: string, desc: string): RametError {
  return new RametError('QMP_FAILED', {
    message: `QEMU refused ${command}: ${desc}`,
    details: { command, class: errorClass, desc },
  })
}

function late(what: string, timeoutMs: number): RametError {
  return new RametError('QMP_FAILED', {
    message: `QEMU did not answer ${what} within ${timeoutMs} ms`,
    details: { command: what, timeoutMs },
  })
}

function lostError(what: string, cause: unknown): RametError {
  const reason = cause instanceof Error && cause.name !== 'AbortError' ? cause : undefined
  return new RametError('QMP_FAILED', {
    message: `the connection to QEMU ended during ${what}`,
    cause: reason,
    details: { command: what, lost: true },
  })
}
