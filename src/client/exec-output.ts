import type { OutputChannel } from '../api/exec-socket.ts'
import { localError } from './errors.ts'

export type OutputHandler = (data: Uint8Array) => void | Promise<void>

/**
 * One output of a process: hands each byte on once and in order, whatever the connections do, and says
 * how far it has been dealt with. Only then does the guest let go, so a slow handler holds the process back.
 */
export class ExecOutputStream {
  readonly #channel: OutputChannel
  readonly #handler: OutputHandler
  readonly #ack: (offset: number) => void
  /** bytes taken in, and bytes dealt with */
  #received = 0
  #handled = 0
  #acked = 0
  /** how far the present connection has sent */
  #carried = 0
  #windowBytes = 1
  /** bytes that the guest had let go of before anybody asked */
  lostBytes = 0
  /** the handlers in order; settled when all that came has been dealt with */
  #work: Promise<void> = Promise.resolve()

  constructor(channel: OutputChannel, handler: OutputHandler, ack: (offset: number) => void, fromOffset = 0) {
    this.#channel = channel
    this.#handler = handler
    this.#ack = ack
    this.#received = this.#handled = this.#acked = this.#carried = fromOffset
  }

  /** how far it has come, bytes since the process began */
  get offset(): number {
    return this.#received
  }

  /**
   * Where the next connection shall begin. The last acknowledgement may have died with the connection, and
   * a session takes none for what it has not sent: so the last byte dealt with is asked for once more.
   */
  get resumeOffset(): number {
    return Math.max(0, this.#handled - 1)
  }

  /** A connection begins at `offset`. */
  connected(offset: number, windowBytes: number): void {
    this.#windowBytes = windowBytes
    if (offset > this.#received) {
      this.lostBytes += offset - this.#received
      this.#received = offset
      this.#work = this.#work.then(() => {
        this.#handled = offset
      })
    }
    this.#acked = this.#carried = offset
  }

  /** @throws RametApiError `INTERNAL` when bytes are missing before it */
  take(offset: number, data: Uint8Array, onFailure: (error: unknown) => void): void {
    if (offset > this.#received)
      throw localError('INTERNAL', `${this.#channel} jumped from byte ${this.#received} to ${offset}`)
    this.#carried = Math.max(this.#carried, offset + data.length)
    const fresh = data.subarray(this.#received - offset)
    if (fresh.length === 0) {
      this.#acknowledge(true)
      return
    }
    this.#received += fresh.length
    const end = this.#received
    this.#work = this.#work.then(async () => {
      await this.#handler(fresh)
      this.#handled = end
      this.#acknowledge(end === this.#received)
    })
    this.#work.catch(onFailure)
  }

  /** Resolves when everything that came has been dealt with. */
  async drained(): Promise<void> {
    await this.#work
    this.#acknowledge(true)
  }

  #acknowledge(now: boolean): void {
    const until = Math.min(this.#handled, this.#carried)
    const behind = until - this.#acked
    if (behind <= 0 || (!now && behind < this.#windowBytes / 4)) return
    this.#acked = until
    this.#ack(until)
  }
}
