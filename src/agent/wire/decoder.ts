import { decodeHeader, emptyPayload, type Frame, headerBytes } from './frame.ts'

type Header = ReturnType<typeof decodeHeader>

/**
 * Turns a byte stream, cut anywhere, into frames. Holds at most one header and one payload of the permitted size;
 * a payload that lies in one chunk is handed on without a copy.
 */
export class FrameDecoder {
  readonly #onFrame: (frame: Frame) => void
  readonly #accepted: ReadonlySet<number>
  readonly #headerPart = Buffer.alloc(headerBytes)
  #headerFill = 0
  #header: Header | undefined
  #payload: Buffer | undefined
  #payloadFill = 0
  #stopped = false

  constructor(accepted: ReadonlySet<number>, onFrame: (frame: Frame) => void) {
    this.#accepted = accepted
    this.#onFrame = onFrame
  }

  /** Nothing is handed on any more, not even what the chunk being decoded still holds. */
  stop(): void {
    this.#stopped = true
    this.#payload = undefined
  }

  /** @throws RametError `AGENT_PROTOCOL` at a framing error; the decoder has then stopped */
  push(chunk: Buffer): void {
    let at = 0
    while (!this.#stopped && at < chunk.length) {
      at += this.#header === undefined ? this.#takeHeader(chunk, at) : this.#takePayload(this.#header, chunk, at)
    }
  }

  #takeHeader(chunk: Buffer, at: number): number {
    const count = Math.min(headerBytes - this.#headerFill, chunk.length - at)
    chunk.copy(this.#headerPart, this.#headerFill, at, at + count)
    this.#headerFill += count
    if (this.#headerFill < headerBytes) return count
    this.#headerFill = 0
    try {
      this.#header = decodeHeader(this.#headerPart, this.#accepted)
    } catch (error) {
      this.stop()
      throw error
    }
    if (this.#header.size === 0) this.#deliver(this.#header, emptyPayload)
    return count
  }

  #takePayload(header: Header, chunk: Buffer, at: number): number {
    const available = chunk.length - at
    if (this.#payload === undefined && available >= header.size) {
      this.#deliver(header, chunk.subarray(at, at + header.size))
      return header.size
    }
    this.#payload ??= Buffer.allocUnsafe(header.size)
    const count = Math.min(header.size - this.#payloadFill, available)
    chunk.copy(this.#payload, this.#payloadFill, at, at + count)
    this.#payloadFill += count
    if (this.#payloadFill === header.size) this.#deliver(header, this.#payload)
    return count
  }

  #deliver({ size: _size, ...header }: Header, payload: Buffer): void {
    this.#header = undefined
    this.#payload = undefined
    this.#payloadFill = 0
    this.#onFrame({ ...header, payload })
  }
}
