/**
 * What a process is to read, kept until the guest has it: what was on its way when a connection broke is sent again.
 * No more than a window lies unacknowledged; `write` waits for room, so that a fast producer is held back.
 */
export class ExecInput {
  readonly #send: (offset: number, data: Uint8Array) => void
  readonly #sendEnd: (offset: number) => void
  /** not yet acknowledged, in order; the first begins at `#acked` */
  #kept: Uint8Array[] = []
  #acked = 0
  #sent = 0
  #written = 0
  #windowBytes = 0
  #online = false
  #ended = false
  /** on this connection */
  #endSent = false
  #failure: unknown
  #waiting: { resolve: () => void; reject: (error: unknown) => void }[] = []

  constructor(send: (offset: number, data: Uint8Array) => void, sendEnd: (offset: number) => void) {
    this.#send = send
    this.#sendEnd = sendEnd
  }

  get ended(): boolean {
    return this.#ended
  }

  /** Resolves when the bytes are on their way, which the guest's pace delays. Rejects once the process is gone. */
  async write(data: Uint8Array): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure
    if (data.length === 0 || this.#ended) return
    this.#kept.push(data.slice())
    this.#written += data.length
    const end = this.#written
    this.#pump()
    while (this.#sent < end) {
      if (this.#failure !== undefined) throw this.#failure
      await new Promise<void>((resolve, reject) => this.#waiting.push({ resolve, reject }))
    }
  }

  /** The input ends after what has been written. */
  end(): void {
    this.#ended = true
    this.#pump()
  }

  /** Somebody else has written before: what is written here comes after `offset`. */
  beginAt(offset: number): void {
    this.#acked = this.#sent = offset
    this.#written += offset
  }

  /** A connection is there; the guest goes on at `offset`. */
  connected(offset: number, windowBytes: number): void {
    this.acknowledge(offset)
    this.#sent = Math.max(this.#acked, Math.min(offset, this.#written))
    this.#windowBytes = windowBytes
    this.#online = true
    this.#endSent = false
    this.#pump()
  }

  disconnected(): void {
    this.#online = false
  }

  /** The guest has all bytes below `offset`. */
  acknowledge(offset: number): void {
    let drop = Math.min(offset, this.#written) - this.#acked
    while (drop > 0) {
      const first = this.#kept[0]
      if (first === undefined) break
      if (first.length > drop) {
        this.#kept[0] = first.subarray(drop)
        this.#acked += drop
        break
      }
      this.#kept.shift()
      this.#acked += first.length
      drop -= first.length
    }
    this.#sent = Math.max(this.#sent, this.#acked)
    this.#pump()
  }

  /** Nobody reads any more. */
  fail(error: unknown): void {
    this.#failure ??= error
    this.#online = false
    for (const { reject } of this.#waiting.splice(0)) reject(error)
  }

  #pump(): void {
    if (this.#online) {
      let position = this.#acked
      for (const piece of this.#kept) {
        const skip = Math.max(0, this.#sent - position)
        const room = this.#acked + this.#windowBytes - Math.max(position, this.#sent)
        if (room <= 0) break
        if (skip < piece.length) this.#sendPieces(position + skip, piece.subarray(skip, skip + room))
        position += piece.length
      }
      if (this.#ended && !this.#endSent && this.#sent === this.#written) {
        this.#endSent = true
        this.#sendEnd(this.#written)
      }
    }
    for (const { resolve } of this.#waiting.splice(0)) resolve()
  }

  #sendPieces(offset: number, data: Uint8Array): void {
    for (let at = 0; at < data.length; at += frameBytes) this.#send(offset + at, data.subarray(at, at + frameBytes))
    this.#sent = offset + data.length
  }
}

const frameBytes = 32 * 1024
