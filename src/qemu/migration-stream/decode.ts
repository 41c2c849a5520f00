import { RametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import type { BlockLength } from './encode.ts'
import { pageBytes, ramFlag, ramSectionName, ramSectionVersion, sectionType, streamHeader } from './wire.ts'

/** Told of each page, in the order of the stream. */
export interface PageSink {
  /** @param data one page, valid during the call only; undefined for a page of zeros */
  page(block: string, offsetBytes: number, data: Buffer | undefined): void
}

/** What a stream holds besides its pages. */
export interface DecodedStream {
  readonly machine: string
  readonly blocks: readonly BlockLength[]
  readonly deviceBlob: Buffer
}

const maxNameBytes = 255
const maxBlockCount = 256
const capabilitiesMaxCount = 64

/** A parser is a generator that yields how many bytes it wants next. */
type Parser<T> = Generator<number, T, Buffer>

/**
 * Reads an ordinary migration stream as QEMU writes it, in whatever pieces it comes: configuration, RAM,
 * devices, description. The bytes are foreign; everything in them is checked before it is used.
 */
export class StreamDecoder {
  readonly #sink: PageSink
  readonly #parser: Parser<void>
  #machine = ''
  #blocks = new Map<string, number>()
  /** as the last page record left it; survives from section to section */
  #block: string | undefined
  #withAddresses = false
  /** whether the parser wants the word that begins a record of RAM */
  #atRecord = false
  #held: Buffer = Buffer.alloc(0)
  #wantedBytes: number
  #tail: Buffer[] | undefined
  /** of the tail, what the parser has read already */
  #tailHead: Buffer = Buffer.alloc(0)
  #tailBytes = 0

  constructor(sink: PageSink) {
    this.#sink = sink
    this.#parser = this.#stream()
    this.#wantedBytes = this.#parser.next().value ?? 0
  }

  /** @throws RametError `VMM_FAILED` at the first thing that is wrong */
  push(chunk: Buffer): void {
    let bytes = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk])
    while (this.#tail === undefined && bytes.length >= this.#wantedBytes) {
      if (this.#atRecord) {
        const skipped = this.#commonRecords(bytes)
        bytes = bytes.subarray(skipped)
        if (bytes.length < this.#wantedBytes) break
      }
      const step = this.#parser.next(bytes.subarray(0, this.#wantedBytes))
      bytes = bytes.subarray(this.#wantedBytes)
      if (step.done) this.#tail = [this.#tailHead]
      else this.#wantedBytes = step.value
    }
    if (this.#tail === undefined) {
      // A copy: the chunk belongs to whoever gave it.
      this.#held = Buffer.from(bytes)
      return
    }
    this.#held = Buffer.alloc(0)
    this.#tailBytes += bytes.length
    if (this.#tailBytes > limits.deviceStateBytes) throw damaged('more device state than the limit')
    this.#tail.push(Buffer.from(bytes))
  }

  /**
   * To be called at the end of the stream.
   *
   * @throws RametError `VMM_FAILED` when something is missing
   */
  finish(): DecodedStream {
    if (this.#tail === undefined) throw damaged('it ends within RAM')
    const blocks = [...this.#blocks].map(([name, usedBytes]) => ({ name, usedBytes }))
    return { machine: this.#machine, blocks, deviceBlob: splitTail(Buffer.concat(this.#tail)) }
  }

  *#stream(): Parser<void> {
    const header = yield streamHeader.length
    if (!header.equals(streamHeader)) throw damaged('no header')
    if ((yield* u8()) !== sectionType.configuration) throw damaged('no configuration')
    const nameBytes = yield* u32()
    if (nameBytes === 0 || nameBytes > maxNameBytes) throw damaged('name of the machine')
    this.#machine = (yield nameBytes).toString('latin1')
    let type = yield* u8()
    for (; type === sectionType.subsection; type = yield* u8()) yield* this.#configurationSubsection()
    if (type !== sectionType.start) throw damaged(`section type ${type} where RAM should start`)
    const id = yield* u32()
    if ((yield* name()) !== ramSectionName || (yield* u32()) !== 0 || (yield* u32()) !== ramSectionVersion)
      throw damaged('the first section is not RAM, version 4')
    yield* this.#records()
    yield* footer(id)
    while (type !== sectionType.end) {
      type = yield* u8()
      // A background snapshot has no end of RAM: devices follow its last part.
      if (type === sectionType.full) {
        this.#tailHead = Buffer.from([type])
        return
      }
      if (type !== sectionType.part && type !== sectionType.end) throw damaged(`section type ${type} within RAM`)
      if ((yield* u32()) !== id) throw damaged('a live section that is not RAM')
      yield* this.#records()
      yield* footer(id)
    }
  }

  *#configurationSubsection(): Parser<void> {
    const what = yield* name()
    yield* u32()
    if (what === 'configuration/target-page-bits') yield* u32()
    else if (what === 'configuration/uuid') yield 16
    else if (what === 'configuration/capabilities') {
      const count = yield* u32()
      if (count > capabilitiesMaxCount) throw damaged('number of capabilities')
      for (let index = 0; index < count; index += 1)
        if ((yield* name()) === 'x-ignore-shared') this.#withAddresses = true
    } else throw damaged(`unknown ${what}`)
  }

  *#records(): Parser<void> {
    for (;;) {
      this.#atRecord = true
      const word = yield* u64()
      this.#atRecord = false
      const flags = word % pageBytes
      const offsetBytes = word - flags
      if (flags === ramFlag.eos) return
      if (flags === ramFlag.memSize) yield* this.#blockList(offsetBytes)
      else yield* this.#page(flags, offsetBytes)
    }
  }

  /**
   * Pages of the same block as the one before: nearly the whole stream, so they are read without the parser,
   * whose steps would cost more than the pages.
   *
   * @returns bytes read; the parser goes on behind them
   */
  #commonRecords(bytes: Buffer): number {
    const block = this.#block
    const usedBytes = block === undefined ? 0 : (this.#blocks.get(block) ?? 0)
    if (block === undefined) return 0
    let at = 0
    for (;;) {
      if (bytes.length - at < 8 + 1) return at
      const low = bytes.readUInt32BE(at + 4)
      const offsetBytes = bytes.readUInt32BE(at) * 2 ** 32 + low - (low % pageBytes)
      // What is wrong is left to the parser, which says so.
      if (offsetBytes + pageBytes > usedBytes) return at
      const flags = low % pageBytes
      if (flags === (ramFlag.page | ramFlag.continue)) {
        if (bytes.length - at < 8 + pageBytes) return at
        this.#sink.page(block, offsetBytes, bytes.subarray(at + 8, at + 8 + pageBytes))
        at += 8 + pageBytes
      } else if (flags === (ramFlag.zero | ramFlag.continue) && bytes[at + 8] === 0) {
        this.#sink.page(block, offsetBytes, undefined)
        at += 9
      } else return at
    }
  }

  *#blockList(totalBytes: number): Parser<void> {
    let restBytes = totalBytes
    while (restBytes > 0) {
      const block = yield* name()
      const usedBytes = yield* u64()
      if (this.#withAddresses) yield* u64()
      if (usedBytes === 0 || usedBytes % pageBytes !== 0 || usedBytes > restBytes) throw damaged(`length of ${block}`)
      if (this.#blocks.has(block) || this.#blocks.size >= maxBlockCount) throw damaged('list of blocks')
      this.#blocks.set(block, usedBytes)
      restBytes -= usedBytes
    }
  }

  *#page(flags: number, offsetBytes: number): Parser<void> {
    const kind = flags & ~ramFlag.continue
    if (kind !== ramFlag.zero && kind !== ramFlag.page) throw damaged(`RAM record with flags 0x${flags.toString(16)}`)
    if ((flags & ramFlag.continue) === 0) this.#block = yield* name()
    const usedBytes = this.#block === undefined ? undefined : this.#blocks.get(this.#block)
    if (this.#block === undefined || usedBytes === undefined) throw damaged('a page of an unlisted block')
    if (offsetBytes + pageBytes > usedBytes) throw damaged(`a page beyond the end of ${this.#block}`)
    if (kind === ramFlag.page) return this.#sink.page(this.#block, offsetBytes, yield pageBytes)
    if ((yield* u8()) !== 0) throw damaged('a page filled with something else than zeros')
    this.#sink.page(this.#block, offsetBytes, undefined)
  }
}

/** Device sections have no lengths; what ends them is found from behind, by the description's length. */
function splitTail(tail: Buffer): Buffer {
  for (let at = tail.lastIndexOf(0); at >= 0; at = at === 0 ? -1 : tail.lastIndexOf(0, at - 1)) {
    const isMark = tail[at + 1] === sectionType.vmDescription && tail.length - at >= 6
    if (isMark && tail.readUInt32BE(at + 2) === tail.length - at - 6) return checkBlob(tail.subarray(0, at))
  }
  if (tail.at(-1) !== sectionType.eof) throw damaged('no end mark')
  return checkBlob(tail.subarray(0, -1))
}

function checkBlob(blob: Buffer): Buffer {
  const isWhole = blob[0] === sectionType.full && blob.at(-5) === sectionType.footer
  if (!isWhole) throw damaged('device sections')
  return blob
}

function* u8(): Parser<number> {
  return (yield 1).readUInt8(0)
}

function* u32(): Parser<number> {
  return (yield 4).readUInt32BE(0)
}

function* u64(): Parser<number> {
  const bytes = yield 8
  const high = bytes.readUInt32BE(0)
  // Beyond this a number loses bits, and no guest has so much memory.
  if (high >= 2 ** 21) throw damaged('a length or offset beyond 2^53')
  return high * 2 ** 32 + bytes.readUInt32BE(4)
}

function* name(): Parser<string> {
  const length = yield* u8()
  if (length === 0) throw damaged('an empty name')
  return (yield length).toString('latin1')
}

function* footer(id: number): Parser<void> {
  if ((yield* u8()) !== sectionType.footer || (yield* u32()) !== id) throw damaged('the footer of RAM')
}

const damaged = (what: string) => new RametError('VMM_FAILED', { message: `migration stream is damaged: ${what}` })
