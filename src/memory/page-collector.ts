/**
 * Guest RAM that comes page by page, in any order, each page once: what a background capture sends. It becomes a new
 * base, or a delta over the base that the vm runs on.
 */
import { closeSync, writeSync } from 'node:fs'
import { createMemfd, immutableSeals, sealFile } from '../host/memfd.ts'
import type { ReadMemoryInfo } from '../host/meminfo.ts'
import { errnoOf, RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import { checkMemoryFor, memfdNameOf, type OpenBase, pageBytes } from './base.ts'
import type { Delta } from './delta.ts'
import { DeltaPages } from './delta-pages.ts'
import { isZeroPage } from './zero-pages.ts'

export interface CollectorOptions {
  /** size of the guest RAM */
  sizeBytes: number
  /** what the host must have to spare */
  expectedBytes: number
  readMemory?: ReadMemoryInfo
}

/** Which pages have come. A page that comes twice, or not at all, is a stream that lies. */
class Arrivals {
  readonly #seen: Uint8Array
  readonly #pageCount: number
  #count = 0

  constructor(sizeBytes: number) {
    this.#pageCount = sizeBytes / pageBytes
    this.#seen = new Uint8Array(Math.ceil(this.#pageCount / 8))
  }

  add(offsetBytes: number): void {
    const page = offsetBytes / pageBytes
    const bit = 1 << (page & 7)
    const byte = this.#seen[page >> 3]
    if (byte === undefined || (byte & bit) !== 0) throw damaged(`page ${page} comes twice`)
    this.#seen[page >> 3] = byte | bit
    this.#count += 1
  }

  requireAll(): void {
    if (this.#count !== this.#pageCount) throw damaged(`${this.#pageCount - this.#count} pages did not come`)
  }
}

/** Gathers all pages into a new base. Pages of zeros stay holes. */
export class BaseCollector implements Disposable {
  readonly #id: string
  readonly #sizeBytes: number
  readonly #arrivals: Arrivals
  readonly #fd: number
  /** neighbouring pages that are written at once: a call a page would cost more than the copy */
  readonly #batch = Buffer.allocUnsafeSlow(limits.collectBatchBytes)
  #batchOffset = 0
  #batchBytes = 0
  #isOurs = true

  /** @throws RametError `NO_CAPACITY` when the host has not that much memory to spare */
  constructor(id: string, options: CollectorOptions) {
    checkMemoryFor(options.expectedBytes, `memory base ${id}`, options.readMemory)
    this.#id = id
    this.#sizeBytes = options.sizeBytes
    this.#arrivals = new Arrivals(options.sizeBytes)
    this.#fd = createMemfd(memfdNameOf(id), options.sizeBytes)
  }

  /**
   * @param data one page; undefined for a page of zeros
   * @throws RametError `VMM_FAILED` for a page that came before, `NO_CAPACITY`
   */
  page(offsetBytes: number, data: Buffer | undefined): void {
    this.#arrivals.add(offsetBytes)
    if (data === undefined || isZeroPage(data, 0)) return
    const isNext = offsetBytes === this.#batchOffset + this.#batchBytes
    if (!isNext || this.#batchBytes === this.#batch.length) this.#flush(offsetBytes)
    this.#batchBytes += data.copy(this.#batch, this.#batchBytes)
  }

  /** Seals the base and hands its descriptor over to the caller. @throws RametError `VMM_FAILED`, `NO_CAPACITY` */
  finish(): OpenBase {
    this.#arrivals.requireAll()
    this.#flush(0)
    sealFile(this.#fd, immutableSeals)
    this.#isOurs = false
    return { id: this.#id, fd: this.#fd, sizeBytes: this.#sizeBytes }
  }

  [Symbol.dispose](): void {
    if (this.#isOurs) closeSync(this.#fd)
    this.#isOurs = false
  }

  #flush(nextOffset: number): void {
    try {
      for (let done = 0; done < this.#batchBytes; )
        done += writeSync(this.#fd, this.#batch, done, this.#batchBytes - done, this.#batchOffset + done)
    } catch (error) {
      if (errnoOf(error) !== 'ENOSPC' && errnoOf(error) !== 'ENOMEM') throw error
      throw new RametError('NO_CAPACITY', { message: `no memory for base ${this.#id}`, cause: error })
    }
    this.#batchOffset = nextOffset
    this.#batchBytes = 0
  }
}

/** Gathers the pages that differ from those of a base, which stays open meanwhile. */
export class DeltaCollector {
  readonly #arrivals: Arrivals
  readonly #pages: DeltaPages

  constructor(base: OpenBase, options: CollectorOptions) {
    checkMemoryFor(options.expectedBytes, `a delta over ${base.id}`, options.readMemory)
    this.#arrivals = new Arrivals(options.sizeBytes)
    this.#pages = new DeltaPages(base.fd)
  }

  /** As that of `BaseCollector`. */
  page(offsetBytes: number, data: Buffer | undefined): void {
    this.#arrivals.add(offsetBytes)
    this.#pages.add(offsetBytes, data)
  }

  /** @throws RametError `VMM_FAILED` when pages are missing */
  finish(): Delta {
    this.#arrivals.requireAll()
    return this.#pages.take()
  }
}

const damaged = (what: string) => new RametError('VMM_FAILED', { message: `migration stream is damaged: ${what}` })
