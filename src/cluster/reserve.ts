import { closeSync, constants, fstatSync, ftruncateSync, openSync, statfsSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import { limits } from '../shared/limits.ts'

/** Room on a disk that can be had when there is none. */
export interface Room {
  /** Gives some of it up. @returns whether there was any left */
  giveUp(): boolean
  /** Takes back what was given up, as soon as the disk has room for it. */
  refill(): void
}

/**
 * A file that only takes room. On a full disk not even a removal can be written down, so nothing would ever become
 * free; the records then get a piece of this. It goes piece by piece, since a guest's disk may grow into it too.
 */
export class Reserve implements Room {
  readonly path: string
  readonly #sizeBytes: number
  #isShort = true

  constructor(path: string, sizeBytes: number = limits.storeReserveBytes) {
    this.path = path
    this.#sizeBytes = sizeBytes
    this.refill()
    // What is needed to open the database at all (its log, its index) is not a write that could be tried again.
    if (this.#freeBytes() < limits.storeReservePieceBytes) this.giveUp()
  }

  giveUp(): boolean {
    return this.#withFile((file) => {
      const { size } = fstatSync(file)
      if (size === 0) return false
      ftruncateSync(file, Math.max(0, size - limits.storeReservePieceBytes))
      this.#isShort = true
      return true
    })
  }

  refill(): void {
    if (!this.#isShort || this.#freeBytes() < 2 * this.#sizeBytes) return
    this.#withFile((file) => {
      const piece = Buffer.alloc(limits.storeReservePieceBytes)
      let { size } = fstatSync(file)
      // Written, not just made longer: a hole takes no room.
      while (size < this.#sizeBytes)
        size += writeSync(file, piece, 0, Math.min(piece.length, this.#sizeBytes - size), size)
      this.#isShort = false
      return true
    })
  }

  #freeBytes(): number {
    const { bavail, bsize } = statfsSync(dirname(this.path))
    return bavail * bsize
  }

  /** To have no reserve is no failure of its own: the disk is full, or says so at the next write. */
  #withFile(work: (file: number) => boolean): boolean {
    try {
      const file = openSync(this.path, constants.O_RDWR | constants.O_CREAT, 0o600)
      try {
        return work(file)
      } finally {
        closeSync(file)
      }
    } catch {
      return false
    }
  }
}
