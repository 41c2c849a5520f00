/** The memory of a captured vm, as an image to look through and as pages to store. */
import { type OpenBase, pageBytes } from '../../memory/base.ts'
import type { Delta } from '../../memory/delta.ts'
import { imageOfFile, imageOverBase, type MemoryImage } from '../../memory/page-tables/memory-image.ts'
import { PageSet } from '../../memory/page-tables/page-set.ts'
import { assert } from '../../shared/assert.ts'
import type { PageContent, PageSource } from '../file/page-source.ts'

/** What captures of running vms give. Descriptors stay the caller's, and stay open until all is saved. */
export type CapturedMemory =
  /** what the vm has over its base, or over zeros where it has none */
  | { readonly kind: 'delta'; readonly delta: Delta; readonly base?: OpenBase | undefined }
  /** all of it */
  | { readonly kind: 'base'; readonly base: OpenBase }

export function imageOf(memory: CapturedMemory, sizeBytes: number): MemoryImage {
  if (memory.base !== undefined) assert(memory.base.sizeBytes === sizeBytes, 'a base as large as the memory over it')
  if (memory.kind === 'base') return imageOfFile(memory.base.fd, sizeBytes)
  const { delta, base } = memory
  return imageOverBase({ sizeBytes, ...delta, ...(base === undefined ? {} : { baseFd: base.fd }) })
}

export interface SavedPagesOptions {
  readonly memory: CapturedMemory
  readonly image: MemoryImage
  /** pages that are not all zeros: no others are read */
  readonly resident: PageSet
  /** whether pages of the base may be named instead of stored */
  readonly refersToBase: boolean
}

/** The pages that a checkpoint is written from. */
export class SavedPages implements PageSource {
  readonly #image: MemoryImage
  readonly #resident: PageSet
  /** pages that are the base's own: those that nothing lies over */
  readonly #ofBase: PageSet
  /** where pages are compared with it */
  readonly #base: MemoryImage | undefined
  readonly #basePage = Buffer.allocUnsafeSlow(pageBytes)

  constructor({ memory, image, resident, refersToBase }: SavedPagesOptions) {
    this.#image = image
    this.#resident = resident
    this.#ofBase = new PageSet(resident.pageCount)
    if (!refersToBase) return
    assert(memory.kind === 'delta' && memory.base !== undefined, 'pages of a base only for a delta over it')
    this.#base = imageOfFile(memory.base.fd, image.sizeBytes)
    const hidden = pagesOf(memory.delta, resident.pageCount)
    for (let page = 0; page < resident.pageCount; page += 1)
      if (resident.has(page) && !hidden.has(page)) this.#ofBase.add(page)
  }

  /** Pages that can be in the file: those of the delta that are as in the base are found when they are read. */
  get mostStored(): number {
    return this.#resident.size - this.#ofBase.size
  }

  read(page: number, into: Buffer): PageContent {
    if (!this.#resident.has(page)) return 'zero'
    if (this.#ofBase.has(page)) return 'base'
    this.#image.read(into, page * pageBytes)
    return this.#isInBase(page, into) ? 'base' : 'data'
  }

  /** A page that was written and is what it was: a program that cleared its memory, or put back what it had. */
  #isInBase(page: number, bytes: Buffer): boolean {
    if (this.#base === undefined) return false
    this.#base.read(this.#basePage, page * pageBytes)
    return this.#basePage.equals(bytes)
  }
}

function pagesOf({ runs }: Delta, pageCount: number): PageSet {
  const pages = new PageSet(pageCount)
  for (const { offsetBytes, lengthBytes } of runs)
    for (let at = offsetBytes; at < offsetBytes + lengthBytes; at += pageBytes) pages.add(at / pageBytes)
  return pages
}
