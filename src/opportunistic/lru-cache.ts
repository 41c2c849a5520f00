import { LinkedList } from './linked-list.ts'
import { SlotCache } from './slot-cache.ts'

/** memory is taken, and given back, in pieces of this size */
const pieceBytes = 16 * 1024 * 1024

export interface LruCacheOptions {
  capacityBytes: number
  /** of the largest block; whole pages */
  blockBytes: number
}

/**
 * A plain bounded cache: what was not read for longest gives way. Nobody else can take its memory, so the bound must be
 * small, or somebody must call `giveBack`. For hosts where the others cannot be had, and to compare them with.
 */
export class LruCache extends SlotCache {
  readonly kind = 'lru'
  readonly #order: LinkedList
  readonly #slotsPerPiece: number
  readonly #pieces: (Buffer | undefined)[]
  #slotsLeft: number

  constructor({ capacityBytes, blockBytes }: LruCacheOptions) {
    super(blockBytes, Math.max(1, Math.floor(capacityBytes / blockBytes)))
    this.#slotsPerPiece = Math.max(1, Math.floor(pieceBytes / blockBytes))
    this.#pieces = new Array<Buffer | undefined>(Math.ceil(this.slotCount / this.#slotsPerPiece)).fill(undefined)
    this.#order = new LinkedList(new Int32Array(LinkedList.wordCount(this.slotCount)))
    this.#order.clear()
    this.#slotsLeft = this.slotCount
  }

  /** In whole pieces, for good. */
  giveBack(bytes: number): number {
    let given = 0
    while (given < bytes && this.#slotsLeft > 0) {
      const piece = Math.ceil(this.#slotsLeft / this.#slotsPerPiece) - 1
      const from = piece * this.#slotsPerPiece
      for (let slot = from; slot < this.#slotsLeft; slot += 1) if (this.isFilled(slot)) this.replace(slot)
      this.retire(from)
      given += this.#free(piece)
      this.#slotsLeft = from
    }
    return given
  }

  protected copySlot(slot: number, _ownAt: number, length: number, into: Buffer, at: number): boolean {
    const piece = this.#pieces[Math.floor(slot / this.#slotsPerPiece)] as Buffer
    const from = (slot % this.#slotsPerPiece) * this.blockBytes
    piece.copy(into, at, from, from + length)
    this.#order.remove(slot)
    this.#order.addLast(slot)
    return true
  }

  protected fillSlot(slot: number, _ownAt: number, bytes: Uint8Array): boolean {
    const at = Math.floor(slot / this.#slotsPerPiece)
    this.#pieces[at] ??= Buffer.allocUnsafeSlow(this.#slotsPerPiece * this.blockBytes)
    this.#pieces[at].set(bytes, (slot % this.#slotsPerPiece) * this.blockBytes)
    this.#order.addLast(slot)
    return true
  }

  protected emptySlot(slot: number): void {
    this.#order.remove(slot)
  }

  protected victim(): number {
    return this.#order.first
  }

  protected takeable(): number {
    return 0
  }

  protected release(): void {
    for (let piece = 0; piece < this.#pieces.length; piece += 1) this.#free(piece)
  }

  /** Not left to the garbage collector, which would do it some time. */
  #free(at: number): number {
    const piece = this.#pieces[at]
    this.#pieces[at] = undefined
    if (piece === undefined) return 0
    const bytes = piece.length
    if (piece.buffer instanceof ArrayBuffer) piece.buffer.transfer(0)
    return bytes
  }
}
