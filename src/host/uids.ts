/** User ids for VMs: under root each has its own, so that no guest's QEMU can touch another's. */
export interface UidRange {
  readonly first: number
  readonly count: number
}

/**
 * Above what systemd gives to containers (up to 1 879 048 191), below its foreign ids (from 2 147 352 576)
 * and far above the ranges that /etc/subuid hands out by default.
 */
export const defaultUidRange: UidRange = { first: 1_900_000_000, count: 65_536 }

/** Ranges of `/etc/subuid` or `/etc/subgid`: lines of `name:first:count`. */
export function parseSubordinateIds(text: string): UidRange[] {
  return text.split('\n').flatMap((line) => {
    const [, first, count] = line.trim().split(':').map(Number)
    return first !== undefined && count !== undefined && first >= 0 && count > 0 ? [{ first, count }] : []
  })
}

export function overlaps(a: UidRange, b: UidRange): boolean {
  return a.first < b.first + b.count && b.first < a.first + a.count
}
