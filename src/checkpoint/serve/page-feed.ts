/** Where the content of the pages of one restore comes from. */
import { pageBytes } from '../../memory/base.ts'
import { isZeroPage } from '../../memory/zero-pages.ts'
import { nodeNames } from '../../qemu/machine.ts'
import { PageBitmap } from '../../qemu/postcopy/page-bitmap.ts'
import type { PostcopyBlock } from '../../qemu/postcopy/source.ts'
import { assert } from '../../shared/assert.ts'
import { Bitmap } from '../file/bitmap.ts'
import type { PageMap } from '../file/page-map.ts'
import type { BasePages } from './base-pages.ts'
import type { BlockStore, BlockUse, OpenCheckpoint } from './block-store.ts'
import type { Priority } from './decode-pool.ts'
import type { RestoreTally } from './tally.ts'

export interface FeedParts {
  readonly open: OpenCheckpoint
  /** needed where the checkpoint counts pages as its base's */
  readonly base: BasePages | undefined
  readonly blocks: BlockStore
  readonly use: BlockUse
  readonly tally: RestoreTally
}

/** Counts for a restore. @param blockCount of its checkpoint */
export function blockUse(tally: RestoreTally, blockCount: number): BlockUse {
  const known = new Bitmap(blockCount)
  return {
    read(block, storedBytes) {
      known.set(block)
      tally.add('blocksRead')
      tally.add('blockBytesRead', storedBytes)
    },
    hit(block) {
      if (known.get(block)) return
      known.set(block)
      tally.add('blockHits')
    },
  }
}

/** The pages of guest RAM. */
export class PageFeed {
  readonly pages: PageMap
  readonly #parts: FeedParts
  /** the block that was last decompressed for this restore: what else is in it is likely to be wanted next */
  #last: { block: number; raw: Buffer } | undefined

  constructor(parts: FeedParts) {
    this.#parts = parts
    this.pages = parts.open.checkpoint.pages
    assert(parts.base !== undefined || this.pages.baseCount === 0, 'a base for the pages that are its')
  }

  isZero(page: number): boolean {
    return this.pages.kindOf(page) === 'zero'
  }

  /** @returns the page if that takes no waiting: `zero` for one of zeros, undefined when it has to be fetched */
  onHand(page: number): Buffer | 'zero' | undefined {
    const place = this.pages.placeOf(page)
    if (place === undefined) return this.isZero(page) ? 'zero' : undefined
    const raw = this.#last?.block === place.block ? this.#last.raw : this.#held(place.block)
    return raw?.subarray(place.slot * pageBytes, (place.slot + 1) * pageBytes)
  }

  /** As `onHand`, at the price of decompressing a block right here where that is soonest. For what a guest waits for. */
  atOnce(page: number): Buffer | 'zero' | undefined {
    const onHand = this.onHand(page)
    const place = this.pages.placeOf(page)
    if (onHand !== undefined || place === undefined) return onHand
    const { open, blocks, use } = this.#parts
    const raw = blocks.loadNow(open, place.block, use)
    if (raw === undefined) return undefined
    this.#last = { block: place.block, raw }
    return raw.subarray(place.slot * pageBytes, (place.slot + 1) * pageBytes)
  }

  /**
   * @returns a page that is not zeros
   * @throws RametError `CHECKPOINT_DAMAGED`, `BASE_DAMAGED`; what the source throws
   */
  async fetch(page: number, priority: Priority): Promise<Buffer> {
    const place = this.pages.placeOf(page)
    if (place === undefined) return this.#fetchOfBase(page)
    const raw = await this.fetchBlock(place.block, priority)
    return raw.subarray(place.slot * pageBytes, (place.slot + 1) * pageBytes)
  }

  /** As `fetch`, of all pages of a block. */
  async fetchBlock(block: number, priority: Priority): Promise<Buffer> {
    const { open, blocks, use } = this.#parts
    const raw = await blocks.load(open, block, priority, use)
    if (priority !== 'fill') this.#last = { block, raw }
    return raw
  }

  #held(block: number): Buffer | undefined {
    const { open, blocks, use } = this.#parts
    return blocks.held(open, block, use)
  }

  async #fetchOfBase(page: number): Promise<Buffer> {
    const { base, tally } = this.#parts
    assert(base !== undefined && this.pages.kindOf(page) === 'base', 'a page that is not zeros')
    const bytes = Buffer.allocUnsafeSlow(pageBytes)
    tally.add('baseBytesRead', await base.read(page, bytes))
    tally.add('basePagesRead')
    return bytes
  }
}

/** The RAM blocks beside guest RAM: few and small, held whole. */
export class RomPages {
  readonly #data: ReadonlyMap<string, Buffer>

  constructor(roms: readonly { block: string; data: Buffer }[]) {
    this.#data = new Map(roms.map(({ block, data }) => [block, data]))
  }

  /** @returns undefined for zeros, and for what the QEMU that loads the devices fills itself */
  read(block: string, page: number): Buffer | undefined {
    const bytes = this.#data.get(block)?.subarray(page * pageBytes, (page + 1) * pageBytes)
    return bytes === undefined || isZeroPage(bytes, 0) ? undefined : bytes
  }
}

/** All RAM blocks of a checkpoint as the source of a restore needs them. */
export function postcopyBlocks({ checkpoint }: OpenCheckpoint, roms: RomPages): PostcopyBlock[] {
  return checkpoint.manifest.ramBlocks.map(({ name, usedBytes }) => {
    const needed = new PageBitmap(usedBytes / pageBytes)
    if (name === nodeNames.memory) setNeeded(needed, checkpoint.pages)
    else
      for (let page = 0; page < needed.pageCount; page += 1) if (roms.read(name, page) !== undefined) needed.set(page)
    return { name, usedBytes, needed }
  })
}

function setNeeded(needed: PageBitmap, pages: PageMap): void {
  for (let block = 0; block < pages.blockCount; block += 1) for (const page of pages.pagesOf(block)) needed.set(page)
  if (pages.baseCount === 0) return
  for (let page = 0; page < pages.pageCount; page += 1) if (pages.kindOf(page) === 'base') needed.set(page)
}
