/**
 * For tests: guest memory with page tables as Linux lays them out, made from a seed: frames are given out at random, and
 * so is the place of everything in the kernel's half.
 */
import assert from 'node:assert/strict'
import { entryBits, entryCount, frameOf, pagesPerEntry } from '../entry.ts'
import type { MemoryImage } from '../memory-image.ts'
import { frameOfPage, type PhysicalLayout, pageOfFrame } from '../physical-layout.ts'

const pageBytes = 4096
const writable = 2
const noExecute = 1 << 31
const userTable = entryBits.present | writable | entryBits.user | entryBits.accessed
const kernelTable = entryBits.present | writable | entryBits.accessed | entryBits.dirty

export interface SyntheticGuestOptions {
  seed: number
  levels: 4 | 5
  layout: PhysicalLayout
  /** page-table isolation: pairs of roots */
  isolated?: boolean
  /** level of the direct map's entries: 1, 2 or 3 */
  directMapLevel?: number
}

/** Numbers from 0 to below a bound that follow from a seed (mulberry32). */
export function seededBelow(seed: number): (bound: number) => number {
  let state = seed >>> 0
  return (bound) => {
    state = (state + 0x6d2b79f5) >>> 0
    let word = Math.imul(state ^ (state >>> 15), state | 1)
    word ^= word + Math.imul(word ^ (word >>> 7), word | 61)
    return Math.floor((((word ^ (word >>> 14)) >>> 0) / 2 ** 32) * bound)
  }
}

export class SyntheticGuest {
  readonly bytes: Buffer
  readonly below: (bound: number) => number
  readonly directMapPage: number
  /** root of the kernel itself, without a user's half */
  readonly kernelRoot: number
  readonly #options: SyntheticGuestOptions
  readonly #words: Uint32Array
  /** frames not given out, in random order */
  readonly #free: number[]

  constructor(options: SyntheticGuestOptions) {
    const { layout, levels, seed, directMapLevel = 2 } = options
    this.#options = options
    this.below = seededBelow(seed)
    this.bytes = Buffer.alloc(layout.pageCount * pageBytes)
    this.#words = new Uint32Array(this.bytes.buffer, this.bytes.byteOffset, this.bytes.length / 4)
    this.#free = Array.from({ length: layout.pageCount }, (_, page) => frameOfPage(layout, page))
    for (let last = this.#free.length - 1; last > 0; last -= 1) this.#swap(last, this.below(last + 1))
    this.kernelRoot = this.#newRootPage()
    const [direct = 0, vmalloc = 0, memmap = 0] = this.#slots(4)
    const top = pagesPerEntry(levels)
    this.directMapPage = firstKernelPage(levels) + (direct - 256) * top + this.below(64) * pagesPerEntry(3)
    this.#mapDirectly(directMapLevel)
    for (const slot of [vmalloc, memmap, 511]) {
      const start = firstKernelPage(levels) + (slot - 256) * top + this.below(512) * pagesPerEntry(2)
      for (let page = 0; page < 40; page += 1)
        this.map(this.kernelRoot, start + page * 3, this.anyFrame(), { user: false })
    }
  }

  #swap(one: number, other: number): void {
    const kept = this.#free[one] ?? 0
    this.#free[one] = this.#free[other] ?? 0
    this.#free[other] = kept
  }

  /** Distinct entries of the kernel's half below the last, ascending. */
  #slots(count: number): number[] {
    const slots = new Set<number>()
    while (slots.size < count) slots.add(256 + this.below(255))
    return [...slots].sort((one, other) => one - other)
  }

  #mapDirectly(level: number): void {
    const step = pagesPerEntry(level)
    const { layout } = this.#options
    const end = frameOfPage(layout, layout.pageCount - 1) + 1
    for (let frame = 0; frame < end; frame += step) {
      if (pageOfFrame(layout, frame) === undefined) continue
      this.map(this.kernelRoot, this.directMapPage + frame, frame, { level, user: false })
    }
  }

  /** A frame that nothing else has. */
  newFrame(): number {
    const frame = this.#free.pop()
    assert.ok(frame !== undefined, 'the guest has memory left')
    return frame
  }

  anyFrame(): number {
    return frameOfPage(this.#options.layout, this.below(this.#options.layout.pageCount))
  }

  /** With isolation, an even frame whose neighbour is free too. */
  #newRootPage(): number {
    if (this.#options.isolated !== true) return this.newFrame()
    const free = new Set(this.#free)
    const frame = this.#free.find((candidate) => candidate % 2 === 0 && free.has(candidate + 1))
    assert.ok(frame !== undefined)
    for (const taken of [frame, frame + 1]) this.#free.splice(this.#free.indexOf(taken), 1)
    return frame
  }

  /** A root with the kernel's half, and its sister. */
  newRoot(): number {
    const root = this.#newRootPage()
    for (let index = 256; index < entryCount; index += 1) {
      const [low, high] = this.entry(this.kernelRoot, index)
      // Passing bits differ from one root to the next.
      this.setEntry(root, index, low === 0 ? 0 : low ^ (this.below(2) * entryBits.accessed), high)
    }
    if (this.#options.isolated === true) this.setEntry(root + 1, 511, ...this.entry(this.kernelRoot, 511))
    return root
  }

  entry(table: number, index: number): [low: number, high: number] {
    const at = this.#wordOf(table, index)
    return [this.#words[at] ?? 0, this.#words[at + 1] ?? 0]
  }

  setEntry(table: number, index: number, low: number, high: number): void {
    const at = this.#wordOf(table, index)
    this.#words[at] = low
    this.#words[at + 1] = high
  }

  #wordOf(table: number, index: number): number {
    const page = pageOfFrame(this.#options.layout, table)
    assert.ok(page !== undefined)
    return (page * pageBytes) / 4 + index * 2
  }

  /** Maps a small or large page, making tables where there are none. `low` takes the place of the usual flags. */
  map(
    root: number,
    virtualPage: number,
    frame: number,
    options: { level?: number; user?: boolean; flags?: number } = {},
  ): void {
    const { level = 1, user = true } = options
    let table = root
    for (let at: number = this.#options.levels; at > level; at -= 1) {
      const index = Math.floor(virtualPage / pagesPerEntry(at)) % entryCount
      const [low, high] = this.entry(table, index)
      if (low !== 0) {
        table = frameOf(low, high)
        continue
      }
      const next = this.newFrame()
      this.#point(table, index, next, user)
      if (table === root && user && this.#options.isolated === true) {
        this.#point(root + 1, index, next, user)
        const [rootLow, rootHigh] = this.entry(root, index)
        this.setEntry(root, index, rootLow, rootHigh | noExecute)
      }
      table = next
    }
    const usual = (user ? userTable : kernelTable) | (level > 1 ? entryBits.large : 0)
    const [low, high] = wordsOf(frame)
    const index = Math.floor(virtualPage / pagesPerEntry(level)) % entryCount
    this.setEntry(table, index, low | (options.flags ?? usual), high)
  }

  #point(table: number, index: number, frame: number, user: boolean): void {
    const [low, high] = wordsOf(frame)
    this.setEntry(table, index, low | (user ? userTable : kernelTable), high)
  }

  /** Fills what nobody has with bytes that mean nothing. */
  fillFree(part: number): void {
    for (const frame of this.#free) {
      if (this.below(100) >= part * 100) continue
      const start = this.#wordOf(frame, 0)
      for (let word = 0; word < pageBytes / 4; word += 1) this.#words[start + word] = this.below(2 ** 32)
    }
  }

  /** @param onRead told of each read, with its length in bytes */
  image(onRead: (bytes: number) => void = () => {}): MemoryImage {
    return {
      sizeBytes: this.bytes.length,
      data: [{ offsetBytes: 0, lengthBytes: this.bytes.length }],
      read: (bytes, offsetBytes) => {
        onRead(bytes.length)
        bytes.set(this.bytes.subarray(offsetBytes, offsetBytes + bytes.length))
      },
    }
  }
}

export function firstKernelPage(levels: number): number {
  return 2 ** 52 - 2 ** (9 * levels - 1)
}

export function wordsOf(frame: number): [low: number, high: number] {
  return [(frame % 2 ** 20) * pageBytes, Math.floor(frame / 2 ** 20)]
}
