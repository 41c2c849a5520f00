/**
 * Walks the tables of one half of an address space in the order of its virtual addresses, as a processor does
 * (Intel manual, volume 3A, section 4.5), over memory that may hold anything.
 *
 * Addresses are counted in pages: with five levels an address has 57 bits, more than a number holds exactly.
 */
import { setImmediate as breathe } from 'node:timers/promises'
import { limits } from '../../shared/limits.ts'
import { entryBits, entryCount, frameOf, invertedFrameOf, isAligned, pagesPerEntry, pointsToTable } from './entry.ts'
import type { TableReader } from './table-reader.ts'

/** Told of each mapping, in ascending order. `pages` is 1, or what of a large page of 2 MiB or 1 GiB lies in RAM. */
export type VisitMapping = (virtualPage: number, frame: number, pages: number) => void

export interface WalkOptions {
  root: number
  levels: 4 | 5
  half: 'user' | 'kernel'
  visit: VisitMapping
  /**
   * A table that is met again, at another address, is passed over: right for the kernel's half, where Linux points
   * terabytes of shadow memory at one table, wrong for the user's, whose processes may share tables.
   */
  onceEach?: boolean
  /** entries that make no sense after which the walk is given up */
  badEntryCount: number
}

export interface Walked {
  /** pages of RAM mapped */
  readonly pages: number
  /** entries that no kernel would have written: reserved bits, a cycle, a table outside of RAM */
  readonly bad: number
  /** mappings of what is no RAM: devices */
  readonly foreign: number
  /** whether the walk came to its end: neither the reader's allowance nor the patience with bad entries ran out */
  readonly whole: boolean
}

/** Virtual page number at which the kernel's half begins: addresses are signed there, up to 2^64. */
function firstPageOf(half: 'user' | 'kernel', levels: number): number {
  return half === 'user' ? 0 : 2 ** 52 - 2 ** (9 * levels - 1)
}

/**
 * Bounded by what the reader allows: at most 512 steps a table. Pauses after every `limits.pageTableTurnCount` tables,
 * which is when others can have a turn.
 */
export function* walkTables(reader: TableReader, options: WalkOptions): Generator<void, Walked> {
  const walk = new Walk(reader, options)
  const { root, levels, half } = options
  const first = half === 'user' ? 0 : entryCount / 2
  yield* walk.table(root, levels, firstPageOf(half, levels), first, first + entryCount / 2)
  return walk.result
}

/** Goes through all of a walk, giving others their turns. @throws the signal's reason when aborted */
export async function finishWalk(walk: Generator<void, Walked>, signal: AbortSignal | undefined): Promise<Walked> {
  for (;;) {
    const { done, value } = walk.next()
    if (done === true) return value
    signal?.throwIfAborted()
    await breathe()
  }
}

class Walk {
  readonly #reader: TableReader
  readonly #options: WalkOptions
  /** frames of the tables from the root down, by level */
  readonly #path: number[] = []
  readonly #seen = new Set<number>()
  #tables = 0
  #pages = 0
  #bad = 0
  #foreign = 0
  #cut = false

  constructor(reader: TableReader, options: WalkOptions) {
    this.#reader = reader
    this.#options = options
  }

  get result(): Walked {
    return { pages: this.#pages, bad: this.#bad, foreign: this.#foreign, whole: !this.#cut }
  }

  *table(frame: number, level: number, firstVirtualPage: number, from: number, to: number): Generator<void, void> {
    const words = this.#reader.read(frame, level)
    if (words === undefined) {
      // Whoever points here has seen to it that there is RAM: the allowance is spent.
      this.#cut = true
      return
    }
    this.#path[level] = frame
    this.#tables += 1
    if (this.#tables % limits.pageTableTurnCount === 0) yield
    const step = pagesPerEntry(level)
    for (let index = from; index < to && !this.#cut; index += 1) {
      const low = words[index * 2] ?? 0
      const high = words[index * 2 + 1] ?? 0
      if (low === 0 && high === 0) continue
      const virtualPage = firstVirtualPage + (index - from) * step
      if (level === 1) this.#leaf(low, high, level, virtualPage)
      else if (level <= 3 && (low & entryBits.large) !== 0) this.#leaf(low, high, level, virtualPage)
      else if (level > 3 || (low & entryBits.present) !== 0) {
        const below = this.#tableBelow(low, high, level)
        if (below !== undefined) yield* this.table(below, level - 1, virtualPage, 0, entryCount)
      }
    }
  }

  /** Frame of the table that an entry points to, unless it makes no sense or was walked already. */
  #tableBelow(low: number, high: number, level: number): number | undefined {
    const frame = frameOf(low, high)
    const closed = this.#options.half === 'user' && (low & entryBits.user) === 0
    if (closed || !pointsToTable(low, high) || this.#reader.pagesFrom(frame, 1) === 0 || this.#isAbove(frame, level)) {
      this.#countBad()
      return undefined
    }
    if (this.#options.onceEach === true) {
      const key = frame * 8 + level
      if (this.#seen.has(key)) return undefined
      this.#seen.add(key)
    }
    return frame
  }

  #leaf(low: number, high: number, level: number, virtualPage: number): void {
    const present = (low & entryBits.present) !== 0
    // Swapped out, being moved, or not read yet: nothing of it is in memory.
    if (!present && (low & entryBits.protNone) === 0) return
    const closed = present && this.#options.half === 'user' && (low & entryBits.user) === 0
    const step = pagesPerEntry(level)
    // Of a large page Linux inverts only the bits that tell where it is, so those below are zero either way.
    if (closed || !isAligned(frameOf(low, high), level)) {
      this.#countBad()
      return
    }
    const frame = present ? frameOf(low, high) : invertedFrameOf(low, high)
    // The lowest bit may be the memory type's.
    const start = frame - (frame % step)
    const pages = this.#reader.pagesFrom(start, step)
    if (pages === 0) {
      this.#foreign += 1
      return
    }
    this.#pages += pages
    this.#options.visit(virtualPage, start, pages)
  }

  #isAbove(frame: number, level: number): boolean {
    for (let above = level; above <= this.#options.levels; above += 1) if (this.#path[above] === frame) return true
    return false
  }

  #countBad(): void {
    this.#bad += 1
    if (this.#bad > this.#options.badEntryCount) this.#cut = true
  }
}
