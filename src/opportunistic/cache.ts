/**
 * Memory that is in use and free at the same time: a cache whose blocks others may take at any moment, without notice.
 * So a miss is always possible, and whoever uses it has a second source for what it holds.
 */

/** A whole number up to 2^53, which is found faster, or any text. */
export type Key = number | string

/**
 * `kernel`: the kernel may take pages for anybody; `free-list`: other consumers of the same pool may take frames;
 * `lru`: nobody but the cache itself, a plain bounded one.
 */
export type CacheKind = 'kernel' | 'free-list' | 'lru'

export interface CacheFigures {
  /** of blocks that are held as far as is known: one that was taken counts until somebody asks for it */
  heldBytes: number
  /** of those, what others can have at once */
  freeHeldBytes: number
  capacityBytes: number
  hits: number
  /** neither there nor taken: never put, or replaced */
  misses: number
  /** misses because the memory had been taken */
  lost: number
  puts: number
  /** blocks that were not kept: too large, or nothing to be had */
  refused: number
  /** blocks that gave way to others of this cache */
  replaced: number
}

/**
 * Nobody is ever given a view of what is held: a reader gets a copy in memory of its own, or nothing. One thread uses
 * a cache; it holds content of this host only, never a guest's writable memory, and belongs to one process.
 */
export interface OpportunisticCache {
  readonly kind: CacheKind
  /** the largest block it takes */
  readonly blockBytes: number
  /**
   * Copies the block of a key.
   *
   * @param into must have room for `blockBytes` from `at` on, or for the block
   * @returns its length; undefined for a miss, after which that part of `into` holds nothing to be used
   */
  read(key: Key, into: Buffer, at?: number): number | undefined
  /** Whether it would be worth while to read: false is certain, true is not, since what was taken is noticed by reading. */
  has(key: Key): boolean
  /** Keeps a copy of the bytes, if it can. @returns whether it did */
  put(key: Key, bytes: Uint8Array): boolean
  drop(key: Key): void
  /**
   * Gives so much memory back now, ahead of somebody who shall not wait while the kernel takes it. A plain cache does without
   * it from then on; a pool of frames keeps its memory.
   *
   * @returns bytes given back, some more or less than asked for
   */
  giveBack(bytes: number): number
  figures(): CacheFigures
  /** Gives all memory back. From then on everything is a miss. */
  close(): void
}
