/**
 * A doubly linked list of small numbers, its links in typed arrays: no object for an entry, nothing for the garbage collector,
 * and it may lie in memory that threads share (who shares it takes a lock first).
 */
const none = -1
/** of an entry that is in no list */
const outside = -2
/** words before the links: first, last */
const headWords = 2

export class LinkedList {
  readonly #words: Int32Array

  /** @param words of `LinkedList.wordCount`, as `clear` or another thread's list has left them */
  constructor(words: Int32Array) {
    this.#words = words
  }

  static wordCount(entryCount: number): number {
    return headWords + entryCount * 2
  }

  clear(): void {
    this.#words.fill(outside)
    this.#words[0] = none
    this.#words[1] = none
  }

  /** The first entry; -1 when there is none. */
  get first(): number {
    return this.#words[0] as number
  }

  has(entry: number): boolean {
    return this.#words[headWords + entry * 2] !== outside
  }

  /** Puts an entry that is in no list before all others. */
  addFirst(entry: number): void {
    this.#insert(entry, none, this.#words[0] as number)
  }

  /** Puts an entry that is in no list behind all others. */
  addLast(entry: number): void {
    this.#insert(entry, this.#words[1] as number, none)
  }

  remove(entry: number): void {
    const at = headWords + entry * 2
    const before = this.#words[at] as number
    const after = this.#words[at + 1] as number
    this.#words[before === none ? 0 : headWords + before * 2 + 1] = after
    this.#words[after === none ? 1 : headWords + after * 2] = before
    this.#words[at] = outside
    this.#words[at + 1] = outside
  }

  #insert(entry: number, before: number, after: number): void {
    const at = headWords + entry * 2
    this.#words[at] = before
    this.#words[at + 1] = after
    this.#words[before === none ? 0 : headWords + before * 2 + 1] = entry
    this.#words[after === none ? 1 : headWords + after * 2] = entry
  }
}
