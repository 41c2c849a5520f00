/** One restore: a QEMU on one side, a checkpoint on the other. */

import { basename } from 'node:path'
import { pageBytes } from '../../memory/base.ts'
import type { PageMap as LocalityMap } from '../../memory/page-tables/page-map.ts'
import { nodeNames } from '../../qemu/machine.ts'
import { type Connection, type PostcopyBlock, PostcopySource } from '../../qemu/postcopy/source.ts'
import type { Clock } from '../../shared/clock.ts'
import { asRametError, type RametError } from '../../shared/errors.ts'
import { faultPoint } from '../../shared/fault.ts'
import { limits } from '../../shared/limits.ts'
import { Bitmap } from '../file/bitmap.ts'
import type { OpenCheckpoint } from './block-store.ts'
import { Fill } from './fill.ts'
import { Pace } from './pace.ts'
import type { PageFeed, RomPages } from './page-feed.ts'
import { choosePolicy } from './policy/choose.ts'
import type { PrefetchPolicy } from './policy/policy.ts'
import { PrefetchSample, sampleEvery } from './prefetch-sample.ts'
import type { RestoreRequest } from './protocol.ts'
import { type OutPage, Pump } from './pump.ts'
import type { Record } from './record.ts'
import { retrying } from './retry.ts'
import type { RestoreTally } from './tally.ts'

export interface RestoreParts {
  readonly request: RestoreRequest
  readonly open: OpenCheckpoint
  readonly feed: PageFeed
  readonly roms: RomPages
  readonly blocks: readonly PostcopyBlock[]
  readonly deviceBlob: Buffer
  readonly locality: LocalityMap | undefined
  readonly tally: RestoreTally
  readonly record: Record
  /** pages that earlier restores have needed, to be pushed first */
  readonly expected: readonly number[]
  readonly connection: Connection
  /** written to it and not yet read by QEMU */
  readonly unreadBytes: () => number
  readonly clock: Clock
  /** a page cannot be had: told once */
  readonly onFailed: (error: RametError) => void
}

type Cause = 'demand' | 'prefetch' | 'fill'
const memory = nodeNames.memory

export class Restore {
  readonly #parts: RestoreParts
  readonly #source: PostcopySource
  readonly #policy: PrefetchPolicy
  readonly #pump: Pump
  readonly #pace: Pace
  readonly #fill: Fill
  readonly #ended = new AbortController()
  /** pages that a guest stands still for, since when (monotonic) */
  readonly #awaited = new Map<number, number>()
  readonly #sample: PrefetchSample
  /** of the working set: known already */
  readonly #expected: Bitmap
  #isHeld = false

  constructor(parts: RestoreParts) {
    const { request, open, feed, clock } = parts
    this.#parts = parts
    const { pageCount } = feed.pages
    this.#expected = new Bitmap(pageCount)
    for (const page of parts.expected) this.#expected.set(page)
    this.#source = new PostcopySource(parts.connection, {
      machine: open.checkpoint.manifest.machine.machine,
      blocks: parts.blocks,
      deviceBlob: parts.deviceBlob,
      onRequest: (block, page) => this.#asked(block, page),
    })
    this.#sample = sampleOf(parts)
    const isOut = (page: number) => this.#isOut(page)
    const view = { pages: feed.pages, locality: parts.locality, isSent: isOut }
    this.#policy = choosePolicy(request.policy, view, parts.expected)
    this.#pace = new Pace(clock, parts.unreadBytes)
    const { signal } = this.#ended
    // Reads from far away are asked for earlier.
    const aheadBlocks = open.source.fd === undefined ? limits.pageServerFarAheadBlocks : limits.pageServerAheadBlocks
    this.#fill = new Fill({
      ...{ feed, isOut, aheadBlocks, onBad: (error: unknown) => this.#fail(error) },
      giveUp: () => this.#sample.giveUp(),
      retrying: (work) => retrying(work, clock, signal),
    })
    this.#pump = new Pump({
      ...{ feed, fill: this.#fill, pace: this.#pace, clock, isOut, aheadBlocks, signal },
      send: (pages, cause) => new Promise((taken) => this.#send(pages, cause, taken)),
      isDone: () => parts.tally.missingPages === 0,
      first: parts.expected,
      fills: request.fill === 'paced',
    })
  }

  /**
   * Sends everything but memory, or asks a QEMU that lost its source what it has.
   *
   * @throws RametError `VMM_FAILED` when the connection ends before
   */
  async begin(): Promise<void> {
    const { request, tally, blocks } = this.#parts
    for (const { needed } of blocks) tally.neededPages += needed.count
    tally.missingPages = tally.neededPages
    if (request.takeOver) await this.#takeOver()
    else this.#source.begin()
    tally.state = 'serving'
  }

  /** What another source has sent is there. */
  async #takeOver(): Promise<void> {
    const { tally, blocks } = this.#parts
    await this.#source.takeOver()
    for (const { name, needed } of blocks)
      for (let page = 0; page < needed.pageCount; page += 1)
        if (needed.has(page) && this.#source.isSent(name, page)) tally.missingPages -= 1
  }

  /**
   * Serves until QEMU has everything.
   *
   * @throws RametError `VMM_FAILED` when the connection ends before that
   */
  async run(): Promise<void> {
    const { tally } = this.#parts
    const broken = this.#source.over.finally(() => this.#ended.abort())
    broken.catch(() => {})
    await this.#sendRoms()
    if (this.#parts.request.fill === 'paced') tally.fillBegins()
    await this.#pump.run()
    // Something cannot be had: whoever has not touched it runs on, until somebody drops the restore.
    if (tally.missingPages > 0) return broken
    await this.#source.finish()
  }

  hurry(): void {
    this.#parts.tally.fillBegins()
    this.#pump.hurry()
  }

  /** Hangs up: a QEMU that is still there pauses whoever touches what is missing. */
  end(): void {
    this.#ended.abort()
    this.#parts.connection.destroy()
  }

  /** They are few, and the firmware is needed as a whole. */
  async #sendRoms(): Promise<void> {
    for (const { name } of this.#parts.blocks) {
      if (name === memory) continue
      for (let page = this.#source.nextMissing(name); page !== undefined; page = this.#source.nextMissing(name, page))
        this.#sendRom(name, page)
    }
  }

  #sendRom(block: string, page: number): void {
    const { roms, tally } = this.#parts
    const data = roms.read(block, page)
    this.#source.send([{ block, page, data }])
    if (data === undefined) return
    tally.add('sentPages')
    tally.add('sentBytes', data.length)
    tally.missingPages -= 1
  }

  #asked(block: string, page: number): void {
    // On its way: nothing has to be done.
    if (this.#source.isSent(block, page)) this.#parts.tally.add('lateFaults')
    // Two processors may wait for one page.
    else if (block !== memory || !this.#awaited.has(page)) this.#askedFor(block, page)
  }

  #askedFor(block: string, page: number): void {
    const { tally, clock, feed, record } = this.#parts
    this.#pace.fault()
    tally.add('demandFaults')
    if (block !== memory) {
      this.#sendRom(block, page)
      return
    }
    this.#awaited.set(page, clock.monotonicMs())
    const withheld = this.#sample.take(page)
    if (withheld !== undefined) {
      this.#answerWithheld(page, withheld)
      return
    }
    record.add(page)
    const along = this.#policy.onFault(page)
    const data = feed.atOnce(page)
    if (data === 'zero') tally.add('zeroFaults')
    if (data !== undefined) this.#answer(page, data === 'zero' ? undefined : data, along)
    else void this.#fetch(page, along)
  }

  /** The policy is not told, and the record knows it already: had it been sent, nobody would have asked. */
  #answerWithheld(page: number, data: Buffer): void {
    const { tally } = this.#parts
    tally.add('prefetchSampledUsedPages')
    this.#send([{ page, data }], 'demand')
    if (tally.missingPages === 0) this.#pump.wake()
  }

  async #fetch(page: number, along: readonly number[]): Promise<void> {
    const { feed, clock } = this.#parts
    try {
      const data = await retrying(() => feed.fetch(page, 'demand'), clock, this.#ended.signal)
      this.#answer(page, data, along)
    } catch (error) {
      if (!this.#ended.signal.aborted) this.#fail(error)
    }
  }

  /** In one write: what is waited for, then what of its neighbours is on hand. The others follow. */
  #answer(page: number, data: Buffer | undefined, along: readonly number[]): void {
    if (this.#ended.signal.aborted) return
    const { feed } = this.#parts
    const block = feed.pages.placeOf(page)?.block
    if (block !== undefined) this.#fill.opened(block)
    if (!this.#source.isSent(memory, page)) this.#send([{ page, data }], 'demand')
    const now: OutPage[] = []
    const later: number[] = []
    for (const neighbour of along) {
      const held = now.length < answerPages && !this.#isOut(neighbour) && feed.onHand(neighbour)
      if (held) now.push({ page: neighbour, data: held === 'zero' ? undefined : held })
      else later.push(neighbour)
    }
    if (now.length > 0) this.#send(now, 'prefetch')
    if (later.length > 0) this.#pump.expect(later)
    if (this.#parts.tally.missingPages === 0) this.#pump.wake()
  }

  #send(pages: readonly OutPage[], cause: Cause, onTaken: () => void = () => {}): void {
    const isOver = this.#ended.signal.aborted
    const out = isOver ? [] : cause === 'prefetch' ? this.#sampled(pages) : pages
    if (out.length === 0) {
      onTaken()
      return
    }
    for (const _ of out) faultPoint('page-server.page')
    this.#source.send(
      out.map((page) => ({ block: memory, ...page })),
      () => {
        this.#letGo()
        onTaken()
      },
    )
    this.#hold()
    for (const { page, data } of out) this.#sent(page, data, cause)
  }

  /** What of a prefetch is sent; the next restore is told of all of it. */
  #sampled(pages: readonly OutPage[]): readonly OutPage[] {
    for (const { page } of pages) if (!this.#expected.get(page)) this.#parts.record.add(page)
    return pages.filter((page) => !this.#withholds(page))
  }

  /** Zeros are not: they cost next to nothing, used or not. */
  #withholds({ page, data }: OutPage): boolean {
    if (data === undefined || this.#awaited.has(page) || !this.#sample.withhold(page, data)) return false
    this.#parts.tally.add('prefetchSampledPages')
    return true
  }

  /** Whatever nobody waits for leaves it alone. */
  #isOut(page: number): boolean {
    return this.#source.isSent(memory, page) || this.#sample.isWithheld(page)
  }

  /** A QEMU that asks and does not take the answers is asked no more until it does: they would fill this server. */
  #hold(): void {
    if (this.#isHeld || this.#source.queuedBytes <= limits.pageServerQueueBytes) return
    this.#isHeld = true
    this.#parts.connection.pause()
  }

  #letGo(): void {
    if (!this.#isHeld || this.#source.queuedBytes > limits.pageServerQueueBytes) return
    this.#isHeld = false
    this.#parts.connection.resume()
  }

  #sent(page: number, data: Buffer | undefined, cause: Cause): void {
    const { tally } = this.#parts
    this.#sample.sent(page)
    const sinceMs = this.#awaited.get(page)
    if (sinceMs !== undefined) {
      this.#awaited.delete(page)
      tally.stalled(sinceMs)
    }
    if (data === undefined) return
    // Counted once: what a guest came to wait for meanwhile is a demand fault.
    if (sinceMs === undefined && cause !== 'demand') tally.add(cause === 'fill' ? 'filledPages' : 'prefetchedPages')
    tally.add('sentPages')
    tally.add('sentBytes', pageBytes)
    tally.missingPages -= 1
  }

  #fail(error: unknown): void {
    const { tally, onFailed } = this.#parts
    if (this.#ended.signal.aborted || tally.state === 'failed') return
    tally.state = 'failed'

    onFailed(asRametError(error))
  }
}

/** By size, unless it was asked for otherwise. A takeover has another socket, and with it another sample. */
function sampleOf({ request, blocks }: RestoreParts): PrefetchSample {
  const neededPages = blocks.reduce((sum, { needed }) => sum + needed.count, 0)
  const { restoreId, qemuSocket } = request
  return new PrefetchSample(request.sampleEvery ?? sampleEvery(neededPages), `${restoreId} ${basename(qemuSocket)}`)
}

/** Brought along in the same write as an answer; more than that would be in the way of the next request. */
const answerPages = 31
