import { RametError } from '../../shared/errors.ts'
import { PageBitmap } from './page-bitmap.ts'

/** What the destination says. */
export type ReturnMessage =
  | { kind: 'shut'; status: number }
  | { kind: 'pong'; value: number }
  /** a range of one block is wanted, whole pages */
  | { kind: 'request'; block: string; offsetBytes: number; lengthBytes: number }
  | { kind: 'bitmap'; block: string; bytes: Buffer }
  | { kind: 'resumed' }

const type = { shut: 1, pong: 2, requestWithName: 3, request: 4, bitmap: 5, resumeAck: 6 } as const
const headBytes = 4
const bitmapEnd = 0x0123456789abcdefn

/**
 * Reads what comes back from a destination, in whatever pieces it comes. The bytes are a guest's QEMU's: everything
 * is checked.
 */
export class ReturnPathDecoder {
  readonly #pageCounts: ReadonlyMap<string, number>
  #held: Buffer = Buffer.alloc(0)
  /** of the last request that named one */
  #block: string | undefined

  /** @param pageCounts pages of each block, by its name */
  constructor(pageCounts: ReadonlyMap<string, number>) {
    this.#pageCounts = pageCounts
  }

  /** @throws RametError `VMM_FAILED` at the first message that no destination of ours would send */
  push(chunk: Buffer): ReturnMessage[] {
    this.#held = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk])
    const messages: ReturnMessage[] = []
    for (let message = this.#next(); message !== undefined; message = this.#next()) messages.push(message)
    // A copy: the chunk belongs to whoever gave it.
    this.#held = Buffer.from(this.#held)
    return messages
  }

  #next(): ReturnMessage | undefined {
    const held = this.#held
    if (held.length < headBytes) return undefined
    const number = held.readUInt16BE(0)
    const length = held.readUInt16BE(2)
    const body = held.subarray(headBytes, headBytes + length)
    if (body.length < length) return undefined
    if (number === type.bitmap) return this.#bitmap(body)
    const message = this.#message(number, body)
    this.#held = held.subarray(headBytes + length)
    return message
  }

  #message(number: number, body: Buffer): ReturnMessage {
    if (number === type.shut && body.length === 4) return { kind: 'shut', status: body.readUInt32BE() }
    if (number === type.pong && body.length === 4) return { kind: 'pong', value: body.readUInt32BE() }
    if (number === type.resumeAck && body.length === 4) return { kind: 'resumed' }
    if (number === type.requestWithName && body.length > 13) {
      this.#block = nameIn(body.subarray(12))
      return this.#request(body)
    }
    if (number === type.request && body.length === 12) return this.#request(body)
    throw damaged(`message ${number} of ${body.length} bytes`)
  }

  #request(body: Buffer): ReturnMessage {
    const offset = body.readBigUInt64BE(0)
    const lengthBytes = body.readUInt32BE(8)
    const block = this.#block
    const limit = (this.#pageCounts.get(block ?? '') ?? 0) * 4096
    const fits = offset + BigInt(lengthBytes) <= BigInt(limit) && offset % 4096n === 0n && lengthBytes % 4096 === 0
    if (block === undefined || !fits || lengthBytes === 0)
      throw damaged(`a request for ${lengthBytes} bytes at ${offset} of ${block}`)
    return { kind: 'request', block, offsetBytes: Number(offset), lengthBytes }
  }

  /** The bitmap itself follows its message, with a length and an end mark of its own. */
  #bitmap(body: Buffer): ReturnMessage | undefined {
    const block = nameIn(body)
    const pageCount = this.#pageCounts.get(block)
    if (pageCount === undefined) throw damaged(`a bitmap of ${block}`)
    const at = headBytes + body.length
    if (this.#held.length < at + 8) return undefined
    const size = this.#held.readBigUInt64BE(at)
    if (size !== BigInt(Math.ceil(Math.ceil(pageCount / 8) / 8) * 8)) throw damaged(`a bitmap of ${size} bytes`)
    const end = at + 8 + Number(size)
    if (this.#held.length < end + 8) return undefined
    if (this.#held.readBigUInt64BE(end) !== bitmapEnd) throw damaged('a bitmap without its end')
    const bytes = Buffer.from(this.#held.subarray(at + 8, end))
    this.#held = this.#held.subarray(end + 8)
    return { kind: 'bitmap', block, bytes }
  }
}

/** The bitmap of a message, as one of its block. */
export const bitmapOf = (bytes: Buffer, pageCount: number): PageBitmap => new PageBitmap(pageCount, bytes)

function nameIn(bytes: Buffer): string {
  const length = bytes[0] ?? 0
  if (length === 0 || bytes.length !== 1 + length) throw damaged('a name of another length')
  return bytes.toString('latin1', 1)
}

const damaged = (what: string) =>
  new RametError('VMM_FAILED', { message: `what QEMU asks for while it is restored makes no sense: ${what}` })
