/** For tests: what a QEMU does that is restored, as far as memory goes, and a guest that touches pages as it is told. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { pageBytes } from '../../../memory/base.ts'
import { ramFlag } from '../../../qemu/migration-stream/wire.ts'
import { encodeEnd, encodePackage, encodePartStart, encodeResume } from '../../../qemu/postcopy/encode.ts'
import type { CheckpointParts } from '../../file/write.ts'

export interface SimulatedParts {
  /** at which it listens */
  readonly socketPath: string
  readonly checkpoint: CheckpointParts
  /** as it was stored */
  readonly memory: Buffer
  /** the guest of a source that died, which goes on here */
  readonly before?: SimulatedGuest
}

const name = 'mem'

/** Each page that comes is compared with what was stored; a page sent twice is an error. */
export class SimulatedGuest implements AsyncDisposable {
  /** pages of guest RAM that came, in that order, zeros among them */
  readonly arrived: number[]
  /** of these and of the firmware's, those that are not zeros, and came over this connection */
  contentCount = 0
  readonly #parts: SimulatedParts
  readonly #server: Server
  readonly #has: Set<number>
  readonly #waiting = new Map<number, () => void>()
  readonly #ended = Promise.withResolvers<void>()
  #socket: Socket | undefined
  #held = Buffer.alloc(0)
  #state: 'head' | 'pages' | 'ended' = 'head'
  #block = ''

  private constructor(parts: SimulatedParts) {
    this.#parts = parts
    this.arrived = [...(parts.before?.arrived ?? [])]
    this.#has = new Set(this.arrived)
    this.#ended.promise.catch(() => {})
    this.#server = createServer((socket) => {
      this.#socket = socket
      socket.on('error', () => {})
      socket.on('data', (chunk) => this.#read(chunk))
    })
  }

  static async listen(parts: SimulatedParts): Promise<SimulatedGuest> {
    const guest = new SimulatedGuest(parts)
    guest.#server.listen(parts.socketPath)
    await once(guest.#server, 'listening')
    return guest
  }

  /** Resolves when everything has come; rejects at the first byte that a QEMU would not take. */
  get ended(): Promise<void> {
    return this.#ended.promise
  }

  has(page: number): boolean {
    return this.#has.has(page)
  }

  /** A processor reads a page, and goes on when it is there. */
  async touch(page: number): Promise<void> {
    if (this.#has.has(page)) return
    const come = new Promise<void>((resolve) => this.#waiting.set(page, resolve))
    const body = Buffer.alloc(13 + name.length)
    body.writeBigUInt64BE(BigInt(page * pageBytes), 0)
    body.writeUInt32BE(pageBytes, 8)
    body.writeUInt8(name.length, 12)
    body.write(name, 13, 'latin1')
    this.#answer(2 + 1, body)
    await Promise.race([come, this.ended])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket?.destroy()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #answer(type: number, body: Buffer): void {
    const head = Buffer.alloc(4)
    head.writeUInt16BE(type, 0)
    head.writeUInt16BE(body.length, 2)
    this.#socket?.write(Buffer.concat([head, body]))
  }

  #read(chunk: Buffer): void {
    this.#held = Buffer.concat([this.#held, chunk])
    try {
      for (let taken = this.#take(); taken > 0; taken = this.#take()) this.#held = this.#held.subarray(taken)
    } catch (error) {
      this.#ended.reject(error)
      this.#socket?.destroy()
    }
  }

  /** @returns how many bytes were understood; 0 until more have come */
  #take(): number {
    if (this.#state === 'pages') return this.#takeRecord()
    if (this.#state === 'ended') return 0
    return this.#parts.before === undefined ? this.#takeHead() : this.#takeResume()
  }

  #takeHead(): number {
    const start = Buffer.concat([encodePackage(this.#parts.checkpoint.deviceState), encodePartStart()])
    const at = this.#held.indexOf(start)
    if (at < 0) return 0
    this.#state = 'pages'
    return at + start.length
  }

  /** Asked for one block after the other, each when the one before was told. */
  #takeResume(): number {
    const resume = Buffer.concat([encodeResume(), encodePartStart()])
    if (this.#held.subarray(0, resume.length).equals(resume)) {
      this.#state = 'pages'
      // Whoever stood still asks again.
      for (const page of this.#parts.before?.waitingFor ?? []) void this.touch(page).catch(() => {})
      return resume.length
    }
    // section, number, length of what follows; then the block's name after its own length
    if (this.#held.length < 6) return 0
    const lengthBytes = 5 + this.#held.readUInt16BE(3)
    if (this.#held.length < lengthBytes) return 0
    const block = this.#held.toString('latin1', 6, lengthBytes)
    const { usedBytes } = this.#parts.checkpoint.ramBlocks.find((candidate) => candidate.name === block) ?? {}
    assert.ok(usedBytes !== undefined, `no block ${block}`)
    const bits = Buffer.alloc(Math.ceil(usedBytes / pageBytes / 64) * 8)
    if (block === name) for (const page of this.#has) bits[page >>> 3] = (bits[page >>> 3] ?? 0) | (1 << (page & 7))
    const size = Buffer.alloc(8)
    size.writeBigUInt64BE(BigInt(bits.length))
    const end = Buffer.alloc(8)
    end.writeBigUInt64BE(0x0123456789abcdefn)
    this.#answer(5, Buffer.concat([Buffer.from([block.length]), Buffer.from(block, 'latin1')]))
    this.#socket?.write(Buffer.concat([size, bits, end]))
    return lengthBytes
  }

  /** pages that it stands still for */
  get waitingFor(): number[] {
    return [...this.#waiting.keys()]
  }

  #takeRecord(): number {
    if (this.#held.length < 8) return 0
    const word = Number(this.#held.readBigUInt64BE())
    const flags = word % pageBytes
    if (flags === ramFlag.eos) return this.#takeEnd()
    const isSame = (flags & ramFlag.continue) !== 0
    const nameBytes = isSame ? 0 : 1 + (this.#held[8] ?? 0)
    const isZero = (flags & ramFlag.zero) !== 0
    const lengthBytes = 8 + nameBytes + (isZero ? 1 : pageBytes)
    if (this.#held.length < lengthBytes) return 0
    if (!isSame) this.#block = this.#held.toString('latin1', 9, 8 + nameBytes)
    if (!isZero) this.contentCount += 1
    if (this.#block === name)
      this.#arrive((word - flags) / pageBytes, isZero ? undefined : this.#held.subarray(8 + nameBytes, lengthBytes))
    return lengthBytes
  }

  #arrive(page: number, data: Buffer | undefined): void {
    const expected = this.#parts.memory.subarray(page * pageBytes, (page + 1) * pageBytes)
    assert.ok(expected.equals(data ?? Buffer.alloc(pageBytes)), `page ${page} is what it was`)
    assert.ok(!this.#has.has(page), `page ${page} comes once`)
    this.#has.add(page)
    this.arrived.push(page)
    this.#waiting.get(page)?.()
    this.#waiting.delete(page)
  }

  #takeEnd(): number {
    const end = encodeEnd()
    if (this.#held.length < end.length) return 0
    assert.ok(this.#held.equals(end), 'the end of the stream')
    this.#state = 'ended'
    this.#answer(1, Buffer.alloc(4))
    this.#ended.resolve()
    return end.length
  }
}
