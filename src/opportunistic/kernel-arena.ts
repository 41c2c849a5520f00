import { type AnonymousMemory, advice, type MemoryCalls } from '../host/memory-calls.ts'
import { assert } from '../shared/assert.ts'
import { limits } from '../shared/limits.ts'
import { fenceLoads, isSame, raise, setGeneration } from './generation.ts'

const pageBytes = 4096
const pageWords = pageBytes / 4

/** words of a handle: the generation */
export const arenaHandleWords = 2

export interface KernelArenaOptions {
  slotCount: number
  /** whole pages */
  slotBytes: number
  /** for tests of what happens when it wraps */
  firstGeneration?: bigint
}

/**
 * Slots of private anonymous memory that is released with MADV_FREE when it has been filled: the kernel may take any page for
 * anybody, with no I/O and no word to us, and the page reads as zeros from then on. So each page carries the
 * generation of its filling in its first eight bytes, never zero, never twice for a page, and a reader looks at it *after* the copy. The bytes
 * that belong there are kept beside, and put into the copy: a page holds 4096 bytes of payload.
 *
 * Reading does not cancel the release, writing does: so nothing is written into a page but when its slot is filled anew.
 * Slots that are filled one after another are released in one call, so that up to `limits.arenaReleasePages` pages are not
 * free yet. One thread uses an arena. The mapping stays for the life of the process; `close` gives its pages back.
 */
export class KernelArena {
  readonly slotCount: number
  readonly slotBytes: number
  /** of the first byte, for tests that take pages away */
  readonly address: number
  readonly #calls: MemoryCalls
  readonly #bytes: Buffer
  readonly #words: Int32Array
  /** of each page: what belongs where the generation is */
  readonly #displaced: Int32Array
  readonly #generation = new Int32Array(2)
  /** the memory that was read into last, and its words: most readers have one buffer */
  #intoBuffer: ArrayBufferLike = new ArrayBuffer(0)
  #intoWords: Int32Array = new Int32Array(0)
  /** bytes that are filled and not released yet */
  #pendingFrom = 0
  #pendingEnd = 0

  /** @throws ErrnoError `ENOMEM`; `EINVAL` where the kernel cannot do this */
  constructor(calls: MemoryCalls, { slotCount, slotBytes, firstGeneration = 0n }: KernelArenaOptions) {
    assert(slotBytes > 0 && slotBytes % pageBytes === 0, 'slots are whole pages')
    this.slotCount = slotCount
    this.slotBytes = slotBytes
    this.#calls = calls
    const { address, bytes } = mapForRelease(calls, slotCount * slotBytes)
    this.address = address
    this.#bytes = Buffer.from(bytes)
    this.#words = new Int32Array(bytes)
    this.#displaced = new Int32Array(((slotCount * slotBytes) / pageBytes) * 2)
    setGeneration(this.#generation, 0, firstGeneration)
  }

  /**
   * Writes a block into a slot, and releases it with those filled just before.
   *
   * @param handles where the handle is written, as `arenaHandleWords` words from `handleAt` on
   */
  fill(slot: number, block: Uint8Array, handles: Int32Array, handleAt: number): void {
    assert(block.length > 0 && block.length <= this.slotBytes, 'a block fits into a slot')
    this.#nextGeneration()
    const low = this.#generation[0] as number
    const high = this.#generation[1] as number
    const from = slot * this.slotBytes
    const end = from + Math.ceil(block.length / pageBytes) * pageBytes
    this.#bytes.set(block, from)
    for (let at = from / 4; at < end / 4; at += pageWords) {
      const displacedAt = (at / pageWords) * 2
      this.#displaced[displacedAt] = this.#words[at] as number
      this.#displaced[displacedAt + 1] = this.#words[at + 1] as number
      this.#words[at] = low
      this.#words[at + 1] = high
    }
    handles[handleAt] = low
    handles[handleAt + 1] = high
    this.#release(from, end)
  }

  /**
   * Copies what a slot was filled with.
   *
   * @param length of the block that it was filled with
   * @param handles as `fill` has left it
   * @returns false when a page of it was taken: what was copied is then in part zeros
   */
  read(slot: number, length: number, handles: Int32Array, handleAt: number, into: Buffer, at: number): boolean {
    if (!this.copyChecked(slot, length, handles, handleAt, into, at)) return false
    this.#putBack(slot, length, into, at)
    return true
  }

  /** Puts what belongs where the generation was into the copy of each page. */
  #putBack(slot: number, length: number, into: Buffer, at: number): void {
    if (into.buffer !== this.#intoBuffer) {
      this.#intoBuffer = into.buffer
      this.#intoWords = new Int32Array(into.buffer, 0, Math.floor(into.buffer.byteLength / 4))
    }
    const start = into.byteOffset + at
    let displacedAt = ((slot * this.slotBytes) / pageBytes) * 2
    for (let from = 0; from < length; from += pageBytes) {
      const low = this.#displaced[displacedAt] as number
      const high = this.#displaced[displacedAt + 1] as number
      displacedAt += 2
      if ((start & 3) === 0 && length - from >= 8) {
        this.#intoWords[(start + from) / 4] = low
        this.#intoWords[(start + from) / 4 + 1] = high
      } else putBackBytes(low, high, into, at + from, length - from)
    }
  }

  /** Copies, then compares: a page that is there afterwards was there all the time, since none comes back by itself. */
  protected copyChecked(
    slot: number,
    length: number,
    handles: Int32Array,
    handleAt: number,
    into: Buffer,
    at: number,
  ): boolean {
    this.copySlot(slot, length, into, at)
    fenceLoads()
    return this.isWhole(slot, length, handles, handleAt)
  }

  protected copySlot(slot: number, length: number, into: Buffer, at: number): void {
    const from = slot * this.slotBytes
    this.#bytes.copy(into, at, from, from + length)
  }

  protected isWhole(slot: number, length: number, handles: Int32Array, handleAt: number): boolean {
    const from = (slot * this.slotBytes) / 4
    for (let at = from; at < from + length / 4; at += pageWords)
      if (!isSame(this.#words, at, handles, handleAt)) return false
    return true
  }

  /** Releases what is filled and not released yet. */
  settle(): void {
    if (this.#pendingEnd > this.#pendingFrom)
      this.#calls.advise(this.address + this.#pendingFrom, this.#pendingEnd - this.#pendingFrom, advice.free)
    this.#pendingFrom = 0
    this.#pendingEnd = 0
  }

  /** Gives the pages of slots back now: they are free, not just to be had. Sorts the list. */
  drop(slots: number[]): void {
    this.settle()
    slots.sort((one, other) => one - other)
    for (let first = 0; first < slots.length; ) {
      let end = first + 1
      while (end < slots.length && slots[end] === (slots[end - 1] as number) + 1) end += 1
      const address = this.address + (slots[first] as number) * this.slotBytes
      this.#calls.advise(address, (end - first) * this.slotBytes, advice.drop)
      first = end
    }
  }

  /** Gives all pages back. Whatever is read from now on was taken. */
  close(): void {
    this.#pendingEnd = 0
    this.#calls.advise(this.address, this.slotCount * this.slotBytes, advice.drop)
  }

  #release(from: number, end: number): void {
    if (from !== this.#pendingEnd) this.settle()
    if (this.#pendingEnd === 0) this.#pendingFrom = from
    this.#pendingEnd = end
    if (end - this.#pendingFrom >= limits.arenaReleasePages * pageBytes) this.settle()
  }

  #nextGeneration(): void {
    raise(this.#generation, 0)
    // Zeros are what a page that was taken reads as.
    if (this.#generation[0] === 0 && this.#generation[1] === 0) raise(this.#generation, 0)
  }
}

/** The same without words: where the copy is not aligned, or ends within the first eight bytes of its last page. */
function putBackBytes(low: number, high: number, into: Buffer, at: number, length: number): void {
  for (let byte = 0; byte < Math.min(length, 8); byte += 1)
    into[at + byte] = (byte < 4 ? low : high) >>> ((byte & 3) * 8)
}

/**
 * Memory whose pages the kernel can take one by one: no huge ones, which it would have to split, or could not take while a
 * single word of them is written; none shared with a child.
 */
export function mapForRelease(calls: MemoryCalls, lengthBytes: number): AnonymousMemory {
  const memory = calls.map(lengthBytes)
  calls.advise(memory.address, lengthBytes, advice.noFork)
  calls.advise(memory.address, lengthBytes, advice.noDump)
  try {
    calls.advise(memory.address, lengthBytes, advice.noHugePages)
  } catch {
    // A kernel without huge pages; where it has them, the trial before has seen that this works.
  }
  return memory
}
