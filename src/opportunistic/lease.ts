import { assert } from '../shared/assert.ts'

/** What a holder keeps of something that may be taken from it: where it was, and the generation that it had. */
export interface Lease {
  readonly seat: number
  readonly generation: bigint
}

interface Seat<T> {
  generation: bigint
  /** undefined while nothing is leased here */
  held: T | undefined
  memoryBytes: number
}

export interface LeaseFigures {
  heldCount: number
  /** memory of what is held, which others can have at once */
  heldBytes: number
  claims: number
  /** claims that came too late */
  misses: number
  reclaimed: number
}

/**
 * The idea of the free list for whole vms: an idle child that waits for a claim is in use and free at once. The host may
 * reclaim it for somebody else's memory without asking its holder; a claim compares generations, and who finds another one
 * falls back on what it would have done without the child.
 *
 * Only decides, at once and in one thread. Ending what was reclaimed, and using what was claimed, are the caller's.
 *
 * @typeParam T what is leased
 */
export class Leases<T> {
  readonly #seats: Seat<T>[] = []
  readonly #emptySeats: number[] = []
  /** seats that hold something, what was leased first in front */
  readonly #held = new Set<number>()
  readonly #firstGeneration: bigint
  readonly #counts = { claims: 0, misses: 0, reclaimed: 0 }

  /** @param firstGeneration for tests of what happens when it wraps */
  constructor(firstGeneration = 0n) {
    this.#firstGeneration = firstGeneration
  }

  /** Puts something behind all others that may be reclaimed. @param memoryBytes what the host gains by reclaiming it */
  grant(held: T, memoryBytes: number): Lease {
    assert(memoryBytes >= 0, 'what is leased takes memory')
    const index = this.#emptySeats.pop() ?? this.#seats.length
    this.#seats[index] ??= { generation: this.#firstGeneration, held: undefined, memoryBytes: 0 }
    const seat = this.#seats[index]
    Object.assign(seat, { held, memoryBytes })
    this.#held.add(index)
    return { seat: index, generation: seat.generation }
  }

  /** What was leased, which is the caller's alone from here on; undefined when it was reclaimed or claimed before. */
  claim(lease: Lease): T | undefined {
    this.#counts.claims += 1
    const seat = this.#seats[lease.seat]
    if (seat?.held === undefined || seat.generation !== lease.generation) {
      this.#counts.misses += 1
      return undefined
    }
    return this.#take(lease.seat)
  }

  /** Whether a claim would succeed now. Says nothing about a later one. */
  isValid(lease: Lease): boolean {
    const seat = this.#seats[lease.seat]
    return seat?.held !== undefined && seat.generation === lease.generation
  }

  /**
   * Takes back what was leased first, until so much memory is gained or nothing is left. Its leases are void at once.
   *
   * @returns what the caller has to end; it never meets it in a claim again
   */
  reclaim(bytes: number): T[] {
    const taken: T[] = []
    let gained = 0
    for (const index of this.#held) {
      if (gained >= bytes) break
      gained += this.#seats[index]?.memoryBytes ?? 0
      taken.push(this.#take(index))
    }
    this.#counts.reclaimed += taken.length
    return taken
  }

  figures(): LeaseFigures {
    let heldBytes = 0
    for (const index of this.#held) heldBytes += this.#seats[index]?.memoryBytes ?? 0
    return { heldCount: this.#held.size, heldBytes, ...this.#counts }
  }

  #take(index: number): T {
    const seat = this.#seats[index]
    assert(seat?.held !== undefined, 'only what is held is taken')
    const { held } = seat
    seat.held = undefined
    seat.generation = BigInt.asUintN(64, seat.generation + 1n)
    this.#held.delete(index)
    this.#emptySeats.push(index)
    return held
  }
}
