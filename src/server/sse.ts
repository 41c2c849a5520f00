import { Readable } from 'node:stream'
import { limits } from '../shared/limits.ts'

/**
 * A stream of server-sent events. A comment goes out at intervals, so that both ends notice when the
 * other is gone. A client that reads too slowly is cut off: it can come back with Last-Event-ID.
 */
export class EventStream extends Readable {
  readonly #heartbeat: NodeJS.Timeout
  readonly #onClose: () => void

  constructor(heartbeatMs: number, onClose: () => void) {
    super({ highWaterMark: limits.eventBacklogBytes, read() {} })
    this.#onClose = onClose
    this.#heartbeat = setInterval(() => this.#write(': still here\n\n'), heartbeatMs)
    this.#write(': hello\n\n')
  }

  /** Sends one event; `data` is anything that JSON can say. */
  event(name: string, data: unknown, id?: number): void {
    const idLine = id === undefined ? '' : `id: ${id}\n`
    this.#write(`${idLine}event: ${name}\ndata: ${JSON.stringify(data)}\n\n`)
  }

  end(): void {
    if (!this.destroyed) this.push(null)
  }

  #write(text: string): void {
    if (this.destroyed || this.readableEnded) return
    this.push(text)
    if (this.readableLength > limits.eventBacklogBytes) this.destroy()
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    clearInterval(this.#heartbeat)
    this.#onClose()
    callback(error)
  }
}

export const eventStreamHeaders = { 'cache-control': 'no-store', 'x-accel-buffering': 'no' }
