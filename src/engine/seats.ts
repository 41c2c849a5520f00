import { firstSeat, freeSeat, lastSeat } from '../fork/seat.ts'
import { RametError } from '../shared/errors.ts'

/** Which seats of this host are taken: by vms that exist, running or not, and by armed children. */
export class Seats {
  readonly #taken: Set<number>

  constructor(taken: Iterable<number>) {
    this.#taken = new Set(taken)
  }

  /** @throws RametError `NO_CAPACITY` */
  take(): number {
    const seat = freeSeat(this.#taken)
    if (seat === undefined)
      throw new RametError('NO_CAPACITY', { message: 'this host has no seat left for another vm' })
    this.#taken.add(seat)
    return seat
  }

  /** Takes this very seat, which may come from another host. @returns whether it is one, and was free */
  claim(seat: number): boolean {
    if (seat < firstSeat || seat > lastSeat || this.#taken.has(seat)) return false
    this.#taken.add(seat)
    return true
  }

  free(seat: number): void {
    this.#taken.delete(seat)
  }
}
