import { connect, type Socket } from 'node:net'
import { requirePeer } from '../host/peer.ts'
import type { ProcessIdentity } from '../host/process-identity.ts'
import { RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'

export interface ConnectOptions {
  readonly signal?: AbortSignal | undefined
  /** the process that must be the one that listens */
  readonly peer?: ProcessIdentity | undefined
}

export interface TransportEvents {
  onBytes(chunk: Buffer): void
  /** called once, when the connection is over for whatever reason */
  onClosed(error: RametError): void
}

/**
 * One connection to the socket of QEMU's character device. Writes are queued up to `limits.linkQueueBytes`;
 * who has much to send waits with `whenWritable` first.
 */
export class Transport {
  readonly #socket: Socket
  readonly #events: TransportEvents
  #waiters: (() => void)[] = []
  #held = false
  #closed: RametError | undefined

  private constructor(socket: Socket, events: TransportEvents) {
    this.#socket = socket
    this.#events = events
    socket.on('data', (chunk: Buffer) => events.onBytes(chunk))
    socket.on('drain', () => this.#wake())
    socket.on('error', (error) => this.#end(error))
    socket.on('close', () => this.#end(undefined))
  }

  /**
   * @throws RametError `AGENT_LINK_LOST` when nobody listens there, `VMM_FAILED` when it is another process than the
   *   one wanted; the signal's reason when aborted
   */
  static connect(path: string, events: TransportEvents, options: ConnectOptions = {}): Promise<Transport> {
    const { signal, peer } = options
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted()
      const socket = connect({ path })
      const onAbort = () => socket.destroy(signal?.reason)
      const onError = (error: Error) => {
        signal?.removeEventListener('abort', onAbort)
        const lost = new RametError('AGENT_LINK_LOST', { message: `cannot connect to ${path}`, cause: error })
        reject(signal?.aborted ? signal.reason : lost)
      }
      signal?.addEventListener('abort', onAbort, { once: true })
      socket.once('error', onError)
      socket.once('connect', () => {
        signal?.removeEventListener('abort', onAbort)
        socket.off('error', onError)
        try {
          if (peer !== undefined) requirePeer(socket, peer, path)
        } catch (error) {
          socket.destroy()
          reject(error)
          return
        }
        resolve(new Transport(socket, events))
      })
    })
  }

  get closed(): boolean {
    return this.#closed !== undefined
  }

  /** Writes the parts as one, in order. Ends the connection when the other side has not read for too long. */
  write(...parts: readonly Buffer[]): void {
    if (this.#closed) return
    this.#socket.cork()
    for (const part of parts) if (part.length > 0) this.#socket.write(part)
    this.#socket.uncork()
    if (this.#socket.writableLength > limits.linkQueueBytes) this.#end(new Error('the guest does not read'))
  }

  /**
   * Keeps back what is written from now on, until `letOut`. A QEMU whose guest stands still takes input for it all the
   * same: were that captured, devices and memory would disagree on how much has arrived.
   */
  hold(): void {
    if (this.#held) return
    this.#held = true
    this.#socket.cork()
  }

  /** Sends what was kept back, if anything was. */
  letOut(): void {
    if (!this.#held) return
    this.#held = false
    this.#socket.uncork()
  }

  /** Resolves when little is queued, in the order of the calls, or when the connection has closed. */
  whenWritable(): Promise<void> {
    if (this.#ready && this.#waiters.length === 0) return Promise.resolve()
    return new Promise((resolve) => this.#waiters.push(resolve))
  }

  close(): void {
    this.#end(new Error('closed by the host'))
  }

  get #ready(): boolean {
    return this.#closed !== undefined || this.#socket.writableLength < limits.linkHighWaterBytes
  }

  /** One waiter at a time, each after the one before it has written: else they would all fill the queue at once. */
  #wake(): void {
    if (!this.#ready) return
    const waiter = this.#waiters.shift()
    if (waiter === undefined) return
    waiter()
    setImmediate(() => this.#wake())
  }

  #end(cause: unknown): void {
    if (this.#closed) return
    this.#closed = new RametError('AGENT_LINK_LOST', { message: 'the connection to the guest agent is over', cause })
    this.#socket.destroy()
    for (const waiter of this.#waiters.splice(0)) waiter()
    this.#events.onClosed(this.#closed)
  }
}
