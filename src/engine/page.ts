import type { Page, PageQuery } from '../api/primitives.ts'
import { RametError } from '../shared/errors.ts'

/** One page of a list, and an opaque cursor that names the last row shown: rows may come and go between pages. */
export function paginate<T extends { id: string }>(rows: readonly T[], query: PageQuery): Page<T> {
  let start = 0
  if (query.cursor !== undefined) {
    const after = Buffer.from(query.cursor, 'base64url').toString()
    start = rows.findIndex((row) => row.id === after) + 1
    if (start === 0) {
      throw new RametError('INVALID_ARGUMENT', {
        message: 'the cursor names no row that is there',
        remediation: 'Begin again without a cursor; the row it named was removed.',
      })
    }
  }
  const items = rows.slice(start, start + query.limit)
  const last = items.at(-1)
  const more = start + items.length < rows.length
  return { items, ...(more && last !== undefined ? { nextCursor: Buffer.from(last.id).toString('base64url') } : {}) }
}

/** Whether labels satisfy all selectors, each `key` or `key=value`. */
export function matchesLabels(labels: Readonly<Record<string, string>>, selectors: readonly string[]): boolean {
  return selectors.every((selector) => {
    const at = selector.indexOf('=')
    if (at < 0) return Object.hasOwn(labels, selector)
    return labels[selector.slice(0, at)] === selector.slice(at + 1)
  })
}
