import { readIfCached } from '../../host/read-if-cached.ts'
import { pageBytes } from '../../memory/base.ts'
import type { PageMap as LocalityMap } from '../../memory/page-tables/page-map.ts'
import { decodeBlock } from '../file/block.ts'
import type { RangeSource } from '../file/range-source.ts'
import type { Checkpoint } from '../file/read.ts'
import type { BlockCache } from './block-cache.ts'
import type { DecodePool, Priority } from './decode-pool.ts'

/** A checkpoint with the file it is in. */
export interface OpenCheckpoint {
  readonly checkpoint: Checkpoint
  readonly source: RangeSource
  /** read when first asked for */
  readonly locality: () => Promise<LocalityMap | undefined>
  /** reads that are under way: the source is not closed before they have settled */
  readonly loads: Set<Promise<unknown>>
}

/** Told of where a block came from, for whom it was asked. */
export interface BlockUse {
  /** it was really read, so many stored bytes, and decompressed */
  read(block: number, storedBytes: number): void
  /** it was in memory */
  hit(block: number): void
}

interface Load {
  readonly raw: Promise<Buffer>
  hasten: (to: Priority) => void
}

/** The blocks of all checkpoints that are being restored: those in the cache, and those under way, each once. */
export class BlockStore {
  readonly #pool: DecodePool
  readonly #cache: BlockCache
  readonly #loads = new Map<string, Load>()
  /** a block was decompressed on this thread since it last looked for other work */
  #isBusy = false

  constructor(pool: DecodePool, cache: BlockCache) {
    this.#pool = pool
    this.#cache = cache
  }

  /** @returns false when a block is certainly not in the cache */
  mayHold(open: OpenCheckpoint, block: number): boolean {
    return this.#cache.has(keyOf(open, block))
  }

  /** @returns a block that is in the cache, or nothing, at once; looking for it in vain is not counted */
  held(open: OpenCheckpoint, block: number, use: BlockUse): Buffer | undefined {
    return this.mayHold(open, block) ? this.#take(open, block, true, use) : undefined
  }

  #take(open: OpenCheckpoint, block: number, isHot: boolean, use: BlockUse): Buffer | undefined {
    const key = keyOf(open, block)
    const found = this.#cache.hot(key) ?? this.#cache.copy(key, rawBytesOf(open, block), isHot)
    if (found !== undefined) use.hit(block)
    return found
  }

  /**
   * Reads and decompresses a block on this thread, where that is sooner than to have another one woken up: when the
   * stored bytes are in memory, and when nobody else has made this one wait just now.
   *
   * @returns undefined where it is not, and for a block that is damaged: `load` tells
   */
  loadNow(open: OpenCheckpoint, block: number, use: BlockUse): Buffer | undefined {
    const key = keyOf(open, block)
    const { fd } = open.source
    if (this.#isBusy || fd === undefined || this.#loads.has(key)) return undefined
    const { digest, rawBytes, file, offsetBytes, storedBytes } = open.checkpoint.sealOf(block)
    const stored = Buffer.allocUnsafeSlow(storedBytes)
    if (!readIfCached(fd, stored, offsetBytes)) return undefined
    // Only here, where it will be had: otherwise `load` looks for it, and a miss is counted once.
    const held = this.#take(open, block, true, use)
    if (held !== undefined) return held
    this.#isBusy = true
    setImmediate(() => {
      this.#isBusy = false
    })
    try {
      const raw = decodeBlock(stored, rawBytes, digest, block, file)
      this.#cache.put(key, raw)
      use.read(block, storedBytes)
      return raw
    } catch {
      return undefined
    }
  }

  /**
   * @returns the pages of a block, one after another
   * @throws RametError `CHECKPOINT_DAMAGED`; what the source throws
   */
  load(open: OpenCheckpoint, block: number, priority: Priority, use: BlockUse): Promise<Buffer> {
    const key = keyOf(open, block)
    // The fill asks for all pages of a block at once, and never again.
    const isHot = priority !== 'fill'
    const under = this.#loads.get(key)
    if (under !== undefined) {
      under.hasten(priority)
      return under.raw
    }
    const held = this.#take(open, block, isHot, use)
    if (held !== undefined) return Promise.resolve(held)
    const load = this.#begin(open, block, priority)
    this.#loads.set(key, load)
    open.loads.add(load.raw)
    const end = () => {
      this.#loads.delete(key)
      open.loads.delete(load.raw)
    }
    load.raw.then((raw) => {
      end()
      if (isHot) this.#cache.put(key, raw)
      else this.#cache.putOfFill(key, raw)
      use.read(block, open.checkpoint.rangeOf(block).storedBytes)
    }, end)
    return load.raw
  }

  #begin(open: OpenCheckpoint, block: number, priority: Priority): Load {
    const { digest, rawBytes, file, offsetBytes, storedBytes } = open.checkpoint.sealOf(block)
    const job = { block, file, digest, rawBytes }
    const { fd } = open.source
    if (fd !== undefined)
      return this.#pool.decode({ ...job, stored: { fd, offsetBytes, lengthBytes: storedBytes } }, priority)
    const wanted = { priority }
    const load: Load = {
      hasten: (to) => {
        wanted.priority = to
      },
      raw: open.source.readRange(offsetBytes, storedBytes).then((stored) => {
        const decoding = this.#pool.decode({ ...job, stored }, wanted.priority)
        load.hasten = decoding.hasten
        return decoding.raw
      }),
    }
    load.raw.catch(() => {})
    return load
  }
}

function rawBytesOf({ checkpoint }: OpenCheckpoint, block: number): number {
  return checkpoint.pages.pagesOf(block).length * pageBytes
}

/** Restores of the same checkpoint share what was read, whatever path it has. */
function keyOf({ checkpoint }: OpenCheckpoint, block: number): string {
  return `${checkpoint.digest}/${block}`
}
