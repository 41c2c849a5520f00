/** Where a checkpoint takes its pages from. */
export interface PageSource {
  /**
   * Reads one page of guest RAM.
   *
   * @param page number of it, from the start of RAM
   * @param into a page long; filled when the answer is `data`, anything may be in it otherwise
   * @returns `data`; `zero` for a page of zeros, which need not be noticed (the writer looks); `base` for one that is
   *   equal to the base's, in case the checkpoint names one
   */
  read(page: number, into: Buffer): PageContent | Promise<PageContent>
}

export type PageContent = 'data' | 'zero' | 'base'
