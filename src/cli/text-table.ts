/** Rows under headings, columns as wide as they need to be, two spaces between. Nothing at line ends. */
export function textTable(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [headings, ...rows]
  const widths = headings.map((_, column) => Math.max(...all.map((row) => displayWidth(row[column] ?? ''))))
  return all
    .map((row) =>
      headings
        .map((_, column) => {
          const cell = row[column] ?? ''
          return cell + ' '.repeat((widths[column] ?? 0) - displayWidth(cell))
        })
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

/** Columns that a text takes on a terminal: code points, which is right for all that Ramet prints itself. */
const displayWidth = (text: string): number => [...text].length
