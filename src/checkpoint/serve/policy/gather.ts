import type { Line } from './line.ts'
import type { PolicyView } from './policy.ts'

export interface Gathered {
  /** still to be sent, nearest first, each once; pages of zeros among them */
  readonly pages: number[]
  /** the last position looked at; the start where there was nothing beside it */
  readonly end: number
}

/** Positions looked at for each page wanted: most may have been sent before. */
const looksPerPage = 4
const looksAtLeast = 64

/**
 * Goes along a line from a position until it has met `count` pages with content that were not sent. Pages of zeros on
 * the way are brought along and not counted: they cost nine bytes, and a guest that walks there waits for each otherwise.
 */
export function gather(view: PolicyView, line: Line, from: number, step: 1 | -1, count: number): Gathered {
  // A page may be mapped at several places of one neighbourhood.
  const pages = new Set<number>()
  let found = 0
  let end = from
  for (let looked = 0; found < count && looked < looksAtLeast + count * looksPerPage; looked += 1) {
    const next = line.beside(end, step)
    const page = next === undefined ? undefined : line.pageAt(next)
    if (next === undefined || page === undefined) break
    end = next
    if (pages.has(page) || view.isSent(page)) continue
    pages.add(page)
    if (view.pages.kindOf(page) !== 'zero') found += 1
  }
  return { pages: [...pages], end }
}
