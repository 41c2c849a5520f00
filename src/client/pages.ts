import type { Page } from '../api/primitives.ts'
import { limits } from '../shared/limits.ts'
import type { ApiRequest, Transport } from './transport.ts'

/** All rows of a list, page after page. */
export async function allRows<T>(transport: Transport, request: ApiRequest): Promise<T[]> {
  const rows: T[] = []
  let cursor: string | undefined
  do {
    const query = { ...request.query, limit: limits.listPageRows, cursor }
    const page: Page<T> = await transport.json<Page<T>>({ ...request, query })
    rows.push(...page.items)
    cursor = page.nextCursor
  } while (cursor !== undefined)
  return rows
}
