import type { Readable, Writable } from 'node:stream'
import { assert } from '../../shared/assert.ts'
import { asRametError, RametError } from '../../shared/errors.ts'
import { encodeHead } from '../migration-stream/encode.ts'
import { pageBytes } from '../migration-stream/wire.ts'
import {
  encodeAdvise,
  encodeDiscard,
  encodeEnd,
  encodeOpenReturnPath,
  encodePackage,
  encodePageHead,
  encodePartStart,
  encodeReceivedBitmap,
  encodeResume,
} from './encode.ts'
import { PageBitmap } from './page-bitmap.ts'
import { type ReturnMessage, ReturnPathDecoder } from './return-path.ts'

/** Both directions of a connection to a QEMU: a socket, or a descriptor that it inherited. */
export type Connection = Readable & Writable

export interface PostcopyBlock {
  readonly name: string
  readonly usedBytes: number
  /** pages that are not zeros: all of them must be sent before the end. Zeros need to be sent only when asked for */
  readonly needed: PageBitmap
}

export interface PostcopyOptions {
  /** versioned machine type */
  readonly machine: string
  /** all RAM blocks, in the destination's order */
  readonly blocks: readonly PostcopyBlock[]
  /** device sections as `extractDeviceBlob` gives them */
  readonly deviceBlob: Buffer
  /** a page is wanted by a processor or a device that stands still until it comes; also told of pages that are on their way */
  readonly onRequest: (block: string, page: number) => void
}

/**
 * The source's side of a postcopy migration into QEMU, without a QEMU at this side: the guest runs as soon as its
 * devices are loaded, and its memory follows page by page. Whatever would make QEMU lose a page without a word is
 * an assertion here: a page sent twice, a record outside a section, an end before all pages were sent.
 */
export class PostcopySource {
  readonly #stream: Connection
  readonly #options: PostcopyOptions
  readonly #blocks: ReadonlyMap<string, { needed: PageBitmap; sent: PageBitmap }>
  readonly #decoder: ReturnPathDecoder
  /** Resolves when the destination says that it has everything. Rejects when the connection ends before. */
  readonly over: Promise<void>
  readonly #over = Promise.withResolvers<void>()
  readonly #bitmaps = new Map<string, (bytes: Buffer) => void>()
  #state: 'new' | 'serving' | 'ended' = 'new'
  /** of the last record on this connection */
  #block: string | undefined

  constructor(stream: Connection, options: PostcopyOptions) {
    this.#stream = stream
    this.#options = options
    this.#blocks = new Map(
      options.blocks.map(({ name, usedBytes, needed }) => [
        name,
        { needed, sent: new PageBitmap(Math.ceil(usedBytes / pageBytes)) },
      ]),
    )
    this.#decoder = new ReturnPathDecoder(new Map([...this.#blocks].map(([name, { sent }]) => [name, sent.pageCount])))
    this.over = this.#over.promise
    this.over.catch(() => {})
    stream.on('data', (chunk: Buffer) => this.#read(chunk))
    stream.once('error', (error) => this.#over.reject(lost(error)))
    stream.once('close', () => this.#over.reject(lost()))
  }

  /** Sends everything but memory: QEMU emits RESUME when its guest runs. */
  begin(): void {
    assert(this.#state === 'new', 'a restore begins once')
    const { machine, blocks, deviceBlob } = this.#options
    this.#stream.write(
      Buffer.concat([
        encodeHeadOfPostcopy(machine, blocks),
        // Without any, QEMU 7.2 waits for itself.
        ...blocks.map(({ name, usedBytes }) => encodeDiscard(name, [{ offsetBytes: 0, lengthBytes: usedBytes }])),
        encodePackage(deviceBlob),
        encodePartStart(),
      ]),
    )
    this.#state = 'serving'
  }

  /**
   * Takes over from a source that died, on a new connection to a destination that waits for one (`migrate-recover`).
   * What the destination has is asked of it: what was on its way when the old connection broke is not there.
   */
  async takeOver(): Promise<void> {
    assert(this.#state === 'new', 'a restore is taken over once')
    for (const [name, block] of this.#blocks) {
      const answer = new Promise<Buffer>((resolve) => this.#bitmaps.set(name, resolve))
      this.#stream.write(encodeReceivedBitmap(name))
      const has = new PageBitmap(block.sent.pageCount, await Promise.race([answer, this.#lostFirst()]))
      for (let page = 0; page < has.pageCount; page += 1) if (has.has(page)) block.sent.set(page)
    }
    // In one piece: requests come again at once, and their answers need an open section.
    this.#stream.write(Buffer.concat([encodeResume(), encodePartStart()]))
    this.#state = 'serving'
  }

  isSent(block: string, page: number): boolean {
    return this.#of(block).sent.has(page)
  }

  /** The next page from `from` on that must still be sent. */
  nextMissing(block: string, from = 0): number | undefined {
    const { needed, sent } = this.#of(block)
    return needed.nextWithout(sent, from)
  }

  /** bytes that are written and not yet taken by QEMU: what is asked for now waits behind them */
  get queuedBytes(): number {
    return this.#stream.writableLength
  }

  /**
   * Sends pages, in order, in one write.
   *
   * @param pages none sent before; `data` undefined for zeros
   * @param onTaken told when the kernel has taken them, and what was sent before; also when the connection is over
   */
  send(pages: Iterable<{ block: string; page: number; data: Buffer | undefined }>, onTaken?: () => void): void {
    assert(this.#state === 'serving', 'pages are sent within a section')
    // The pages themselves are not copied: together with their heads they are one vector for the kernel.
    this.#stream.cork()
    for (const { block, page, data } of pages) {
      assert(this.#of(block).sent.set(page), `page ${page} of ${block} is sent once`)
      this.#stream.write(
        encodePageHead(page * pageBytes, data === undefined, block === this.#block ? undefined : block),
      )
      this.#stream.write(data ?? oneZero)
      this.#block = block
    }
    if (onTaken !== undefined) this.#stream.write(nothing, onTaken)
    this.#stream.uncork()
  }

  /**
   * Ends the restore: the guest stands on its own from then on, and what was never sent is zeros.
   *
   * @throws RametError `VMM_FAILED` when the connection ends before QEMU says that it has everything
   */
  async finish(): Promise<void> {
    assert(this.#state === 'serving', 'a restore ends once')
    for (const name of this.#blocks.keys()) assert(this.nextMissing(name) === undefined, `all of ${name} was sent`)
    this.#state = 'ended'
    this.#stream.write(encodeEnd())
    await this.over
    this.#stream.end()
  }

  #of(name: string): { needed: PageBitmap; sent: PageBitmap } {
    const block = this.#blocks.get(name)
    assert(block !== undefined, `${name} is a block of this guest`)
    return block
  }

  async #lostFirst(): Promise<never> {
    await this.over
    throw lost()
  }

  #read(chunk: Buffer): void {
    try {
      for (const message of this.#decoder.push(chunk)) this.#take(message)
    } catch (error) {
      this.#over.reject(asRametError(error))
      this.#stream.destroy()
    }
  }

  #take(message: ReturnMessage): void {
    if (message.kind === 'bitmap') this.#bitmaps.get(message.block)?.(message.bytes)
    if (message.kind === 'request') this.#askedFor(message)
    if (message.kind !== 'shut') return
    if (message.status === 0 && this.#state === 'ended') this.#over.resolve()
    else this.#over.reject(new RametError('VMM_FAILED', { message: `QEMU gave up its restore (${message.status})` }))
  }

  #askedFor({ block, offsetBytes, lengthBytes }: Extract<ReturnMessage, { kind: 'request' }>): void {
    // A page of zeros that was asked for while the end was on its way: the end gives it.
    if (this.#state === 'ended') return
    const first = offsetBytes / pageBytes
    for (let page = first; page < first + lengthBytes / pageBytes; page += 1) this.#options.onRequest(block, page)
  }
}

/** What stands for a page of zeros: the byte that it is full of. */
const oneZero = Buffer.alloc(1)
const nothing = Buffer.alloc(0)

/** As of an ordinary stream, with the commands that must come between the configuration and the list of blocks. */
function encodeHeadOfPostcopy(machine: string, blocks: readonly PostcopyBlock[]): Buffer {
  const head = encodeHead(machine, blocks)
  // The configuration ends with the machine's name.
  const ramStart = 8 + 1 + 4 + Buffer.byteLength(machine)
  return Buffer.concat([head.subarray(0, ramStart), encodeOpenReturnPath(), encodeAdvise(), head.subarray(ramStart)])
}

const lost = (cause?: unknown) =>
  new RametError('VMM_FAILED', { message: 'the connection to the QEMU that is restored is over', cause })
