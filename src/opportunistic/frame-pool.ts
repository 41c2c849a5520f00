import { assert } from '../shared/assert.ts'
import { limits } from '../shared/limits.ts'
import { fenceLoads, generationOf, isSame, raise, setGeneration } from './generation.ts'
import { LinkedList } from './linked-list.ts'
import { lockWord, unlockWord } from './shared-lock.ts'

/** All of a pool, to be posted to another thread. */
export interface SharedFrames {
  frameBytes: number
  frameCount: number
  secondChances: number
  control: SharedArrayBuffer
  generations: SharedArrayBuffer
  links: SharedArrayBuffer
  states: SharedArrayBuffer
  touches: SharedArrayBuffer
  frames: SharedArrayBuffer
}

export interface FramePoolOptions {
  frameCount: number
  /** whole pages; the same for all frames */
  frameBytes: number
  /**
   * Frames that were read since they were last passed over, and are passed over once more by one allocation, at most. 0 is
   * the plain list: the oldest goes first.
   */
  secondChances?: number
  /** for tests of what happens when it wraps */
  firstGeneration?: bigint
}

export interface FramePoolFigures {
  frameCount: number
  /** on the list and read by nobody any more */
  unreferencedCount: number
  /** on the list, and read by those who published them: free and in use */
  heldCount: number
  /** off the list: they have an owner */
  ownedCount: number
  allocations: number
  /** of those, frames that somebody held */
  allocationsFromHeld: number
}

/** words of a handle: frame, its generation low and high */
export const handleWords = 3

const word = { lock: 0, isBroken: 1, unreferenced: 2, held: 3 } as const
const wordCount = 4
const tally = { allocations: 0, fromHeld: 1 } as const
const tallyCount = 2
/** states of a frame */
const owned = 0
const unreferenced = 1
const held = 2

/**
 * Frames of memory with a free list that also holds frames in use. An allocation takes the first of the list at once: it
 * raises the frame's generation, tells nobody and keeps nothing. At the front lie frames that nobody reads; behind them
 * those that were *published*, oldest first, which their holders read on, comparing the generation after each copy.
 *
 * A frame is filled while it is off the list, and never written after it was published. Any number of threads use a pool,
 * each through an object of its own over the same shared memory. Reading takes no lock.
 */
export class FramePool {
  readonly shared: SharedFrames
  readonly frameBytes: number
  readonly frameCount: number
  readonly #control: Int32Array
  readonly #tallies: Float64Array
  readonly #generations: Int32Array
  readonly #list: LinkedList
  readonly #states: Uint8Array
  /** 1: read since it was last passed over. A hint, without order or lock. */
  readonly #touches: Uint8Array
  readonly #frames: Buffer
  readonly #secondChances: number

  constructor(shared: SharedFrames) {
    this.shared = shared
    this.frameBytes = shared.frameBytes
    this.frameCount = shared.frameCount
    this.#control = new Int32Array(shared.control, 0, wordCount)
    this.#tallies = new Float64Array(shared.control, wordCount * 4, tallyCount)
    this.#generations = new Int32Array(shared.generations)
    this.#list = new LinkedList(new Int32Array(shared.links))
    this.#states = new Uint8Array(shared.states)
    this.#touches = new Uint8Array(shared.touches)
    this.#frames = Buffer.from(shared.frames)
    this.#secondChances = shared.secondChances
  }

  /** Makes the shared memory of a pool, all frames unreferenced. */
  static share(options: FramePoolOptions): SharedFrames {
    const { frameCount, frameBytes, secondChances = 0, firstGeneration = 0n } = options
    assert(frameCount > 0 && frameBytes > 0 && frameBytes % 4096 === 0, 'a pool has frames of whole pages')
    const shared = {
      ...{ frameBytes, frameCount, secondChances },
      control: new SharedArrayBuffer(wordCount * 4 + tallyCount * 8),
      generations: new SharedArrayBuffer(frameCount * 8),
      links: new SharedArrayBuffer(LinkedList.wordCount(frameCount) * 4),
      states: new SharedArrayBuffer(frameCount),
      touches: new SharedArrayBuffer(frameCount),
      frames: new SharedArrayBuffer(frameCount * frameBytes),
    }
    const list = new LinkedList(new Int32Array(shared.links))
    list.clear()
    const generations = new Int32Array(shared.generations)
    for (let frame = 0; frame < frameCount; frame += 1) {
      list.addLast(frame)
      setGeneration(generations, frame * 2, firstGeneration)
    }
    new Uint8Array(shared.states).fill(unreferenced)
    new Int32Array(shared.control)[word.unreferenced] = frameCount
    return shared
  }

  /**
   * The ordinary allocation: a frame of one's own, at once. It holds whatever it held: zero what another must not see.
   *
   * @returns -1 when all frames have owners
   */
  take(): number {
    if (!this.#lock()) return -1
    const frame = this.#next()
    if (frame >= 0) {
      this.#list.remove(frame)
      const wasHeld = this.#states[frame] === held
      this.#count(wasHeld ? word.held : word.unreferenced, -1)
      this.#states[frame] = owned
      this.#touches[frame] = 0
      raise(this.#generations, frame * 2)
      this.#tally(tally.allocations)
      if (wasHeld) this.#tally(tally.fromHeld)
    }
    this.#unlock()
    return frame
  }

  /** Writes into a frame that the caller owns. */
  write(frame: number, bytes: Uint8Array, at = 0): void {
    assert(this.#states[frame] === owned, 'only its owner writes into a frame')
    assert(at >= 0 && at + bytes.length <= this.frameBytes, 'what is written fits into the frame')
    this.#frames.set(bytes, frame * this.frameBytes + at)
  }

  /** Copies from a frame that the caller owns. */
  copyOwn(frame: number, into: Buffer): void {
    assert(this.#states[frame] === owned, 'a frame on the list is read by its handle')
    this.#frames.copy(into, 0, frame * this.frameBytes, (frame + 1) * this.frameBytes)
  }

  /**
   * Puts an owned frame behind all others on the list: free for all from here on, and readable through the handle until somebody takes it.
   *
   * @param handles where the handle is written, as `handleWords` words from `at` on
   */
  publish(frame: number, handles: Int32Array, at: number): void {
    handles[at] = frame
    handles[at + 1] = Atomics.load(this.#generations, frame * 2)
    handles[at + 2] = Atomics.load(this.#generations, frame * 2 + 1)
    this.#giveBack(frame, held)
  }

  /** Puts an owned frame before all others: nobody wants its content. */
  free(frame: number): void {
    this.#giveBack(frame, unreferenced)
  }

  /** Lets go of a published frame, which is then taken before others. Nothing happens when it was taken already. */
  giveUp(handles: Int32Array, at: number): void {
    const frame = handles[at] as number
    if (!isSame(this.#generations, frame * 2, handles, at + 1) || !this.#lock()) return
    // Looked at again: the first look was without the lock.
    if (isSame(this.#generations, frame * 2, handles, at + 1) && this.#list.has(frame)) {
      if (this.#states[frame] === held) {
        this.#count(word.held, -1)
        this.#count(word.unreferenced, 1)
      }
      this.#list.remove(frame)
      this.#list.addFirst(frame)
      this.#states[frame] = unreferenced
    }
    this.#unlock()
  }

  /**
   * Copies from a published frame.
   *
   * @returns false when it was taken, before the copy or during it: what was copied is then anything
   */
  read(handles: Int32Array, handleAt: number, into: Buffer, at: number, length: number): boolean {
    const frame = handles[handleAt] as number
    if (!this.copyChecked(frame, handles, handleAt + 1, into, at, length)) return false
    if (this.#secondChances > 0) this.#touches[frame] = 1
    return true
  }

  /** Whether a published frame has a second chance, which is used up by asking. */
  useChance(handles: Int32Array, at: number): boolean {
    const frame = handles[at] as number
    if (this.#touches[frame] !== 1 || !this.isCurrent(frame, handles, at + 1)) return false
    this.#touches[frame] = 0
    return true
  }

  /** Copies, then compares: nothing that happens before the comparison can make it wrong. */
  protected copyChecked(
    frame: number,
    copies: Int32Array,
    copyAt: number,
    into: Buffer,
    at: number,
    length: number,
  ): boolean {
    this.copyFrame(frame, into, at, length)
    fenceLoads()
    return this.isCurrent(frame, copies, copyAt)
  }

  protected copyFrame(frame: number, into: Buffer, at: number, length: number): void {
    const from = frame * this.frameBytes
    this.#frames.copy(into, at, from, from + length)
  }

  protected isCurrent(frame: number, copies: Int32Array, copyAt: number): boolean {
    return isSame(this.#generations, frame * 2, copies, copyAt)
  }

  generation(frame: number): bigint {
    return generationOf(this.#generations, frame * 2)
  }

  /** Whether a thread ended in the middle of an allocation. Nothing is allocated any more; what is held can be read. */
  get isBroken(): boolean {
    return Atomics.load(this.#control, word.isBroken) === 1
  }

  figures(): FramePoolFigures {
    const unreferencedCount = Atomics.load(this.#control, word.unreferenced)
    const heldCount = Atomics.load(this.#control, word.held)
    return {
      ...{ frameCount: this.frameCount, unreferencedCount, heldCount },
      ownedCount: this.frameCount - unreferencedCount - heldCount,
      allocations: this.#tallies[tally.allocations] ?? 0,
      allocationsFromHeld: this.#tallies[tally.fromHeld] ?? 0,
    }
  }

  #next(): number {
    let frame = this.#list.first
    for (let chances = this.#secondChances; chances > 0 && frame >= 0; chances -= 1) {
      if (this.#states[frame] !== held || this.#touches[frame] !== 1) break
      this.#touches[frame] = 0
      this.#list.remove(frame)
      this.#list.addLast(frame)
      frame = this.#list.first
    }
    return frame
  }

  #giveBack(frame: number, state: typeof held | typeof unreferenced): void {
    if (!this.#lock()) return
    const isOwned = !this.#list.has(frame)
    if (isOwned) {
      this.#states[frame] = state
      this.#count(state === held ? word.held : word.unreferenced, 1)
      if (state === held) this.#list.addLast(frame)
      else this.#list.addFirst(frame)
    }
    this.#unlock()
    assert(isOwned, 'a frame is given back once')
  }

  #count(what: number, change: number): void {
    this.#control[what] = (this.#control[what] as number) + change
  }

  #tally(what: number): void {
    this.#tallies[what] = (this.#tallies[what] as number) + 1
  }

  #lock(): boolean {
    if (this.isBroken) return false
    if (lockWord(this.#control, word.lock, limits.frameLockMs)) return true
    Atomics.store(this.#control, word.isBroken, 1)
    return false
  }

  #unlock(): void {
    unlockWord(this.#control, word.lock)
  }
}
