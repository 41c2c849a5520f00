import type { Context } from './context.ts'
import { line } from './io.ts'
import { textTable } from './text-table.ts'

export interface Column<T> {
  readonly heading: string
  readonly of: (row: T) => string
}

/** Something with a name, or at least an id. */
interface Named {
  readonly id?: string
  readonly name?: string
}

export const nameOf = (thing: Named): string => thing.name ?? thing.id ?? ''

/**
 * Shows a list: a table, one JSON array of what the API said, or a name a line.
 * An empty table is a sentence on stderr, so that scripts read nothing.
 */
export async function showList<T extends Named>(
  context: Context,
  rows: readonly T[],
  columns: readonly Column<T>[],
  whenEmpty: string,
): Promise<void> {
  const { io, format } = context
  if (format === 'json') return await line(io, JSON.stringify(rows, null, 2))
  if (format === 'name') {
    if (rows.length > 0) await line(io, rows.map(nameOf).join('\n'))
    return
  }
  if (rows.length === 0) {
    io.stderr.write(`${whenEmpty}\n`)
    return
  }
  const cells = rows.map((row) => columns.map((column) => column.of(row)))
  await line(
    io,
    textTable(
      columns.map((column) => column.heading),
      cells,
    ),
  )
}

/** Shows one thing: as JSON, by its name, or as `text` for people. */
export async function showOne(context: Context, thing: Named | object, text: string): Promise<void> {
  if (context.format === 'json') return await line(context.io, JSON.stringify(thing, null, 2))
  await line(context.io, context.format === 'name' ? nameOf(thing as Named) : text)
}
