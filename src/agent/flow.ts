import { assert } from '../shared/assert.ts'
import { RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import { badFrame } from './wire/frame.ts'

/** Acknowledgements are gathered up to this many bytes; a channel that has ended is acknowledged at once. */
const ackStepBytes = limits.streamWindowBytes / 4

/** Our end of a channel that the guest sends in: checks what arrives, says when to acknowledge. Offsets in bytes. */
export class Receiver {
  #received: number
  #acked: number
  #ackSent: number
  #ended = false

  /** @param start offset of the first byte that will come */
  constructor(start = 0) {
    this.#received = start
    this.#acked = start
    this.#ackSent = start
  }

  get ended(): boolean {
    return this.#ended
  }

  /** @throws RametError `AGENT_PROTOCOL` for a gap, a repeat, data beyond the window or after the end */
  data(offset: number, size: number): void {
    if (size === 0) throw badFrame('data without a byte')
    if (this.#ended) throw badFrame('data after the end of its channel')
    if (offset !== this.#received) throw badFrame(`data at offset ${offset} instead of ${this.#received}`)
    if (offset + size > this.#ackSent + limits.streamWindowBytes) throw badFrame('data beyond the window')
    this.#received += size
  }

  /** @throws RametError `AGENT_PROTOCOL` when bytes are missing */
  eof(length: number): void {
    if (this.#ended || length !== this.#received) throw badFrame(`an end at offset ${length}`)
    this.#ended = true
  }

  /**
   * Everything before `offset` has been passed on. Going back is ignored.
   *
   * @throws RametError `INVALID_ARGUMENT` for more than has been received
   * @returns the count to send in an `ack` frame, or undefined when it can wait
   */
  ack(offset: number): number | undefined {
    // The number may come from a client of the API.
    if (!Number.isSafeInteger(offset) || offset > this.#received) {
      throw new RametError('INVALID_ARGUMENT', {
        message: `${offset} bytes were acknowledged, ${this.#received} have been sent`,
      })
    }
    this.#acked = Math.max(this.#acked, offset)
    const due = this.#acked - this.#ackSent
    if (due === 0 || (due < ackStepBytes && !(this.#ended && this.#acked === this.#received))) return undefined
    this.#ackSent = this.#acked
    return this.#acked
  }
}

/** Our end of a channel that we send in. Offsets in bytes. */
export class Sender {
  #sent: number
  #acked: number
  #ended = false

  /**
   * @param start offset of the first byte to send
   * @param acked what the guest has passed on of what was sent before
   */
  constructor(start = 0, acked = start) {
    this.#sent = start
    this.#acked = Math.min(acked, start)
  }

  get sent(): number {
    return this.#sent
  }

  get acked(): number {
    return this.#acked
  }

  get ended(): boolean {
    return this.#ended
  }

  /** bytes that may be sent now */
  get room(): number {
    return this.#acked + limits.streamWindowBytes - this.#sent
  }

  /** @returns the offset of the bytes about to be sent */
  take(size: number): number {
    assert(!this.#ended && size <= this.room, 'sent within the window and before the end')
    this.#sent += size
    return this.#sent - size
  }

  end(): number {
    this.#ended = true
    return this.#sent
  }

  /**
   * @returns whether it acknowledges anything new
   * @throws RametError `AGENT_PROTOCOL` when the guest acknowledges what was never sent
   */
  ack(count: number): boolean {
    if (count > this.#sent) throw badFrame(`an acknowledgement of ${count} bytes`)
    const advances = count > this.#acked
    if (advances) this.#acked = count
    return advances
  }
}
