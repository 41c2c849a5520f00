/** A call that cannot be meant so. */
export class UsageError extends Error {}

export function whole(option: string, text: string, least: number, most: number): number {
  const value = Number(text)
  if (/^\d+$/.test(text) && value >= least && value <= most) return value
  throw new UsageError(`${option} takes a whole number from ${least} to ${most}`)
}

/** Things between commas; `none` for the empty list. */
export function listOf<T>(text: string, parse: (item: string) => T): T[] {
  return text === 'none' ? [] : text.split(',').map((item) => parse(item.trim()))
}
