/** User ids for VMs: under root each has its own, so that no guest's QEMU can touch another's. */
import { RametError } from '../shared/errors.ts'

export interface UidRange {
  readonly first: number
  readonly count: number
}

/**
 * Above what systemd gives to containers (up to 1 879 048 191), below its foreign ids (from 2 147 352 576)
 * and far above the ranges that /etc/subuid hands out by default.
 */
export const defaultUidRange: UidRange = { first: 1_900_000_000, count: 65_536 }

/**
 * The next free id after the last one given, round and round, so that an id rests before it is used again.
 *
 * @throws RametError `NO_CAPACITY` when all are taken
 */
export function allocateUid(range: UidRange, taken: ReadonlySet<number>, last = range.first - 1): number {
  const start = Math.max(0, last + 1 - range.first)
  for (let step = 0; step < range.count; step += 1) {
    const uid = range.first + ((start + step) % range.count)
    if (!taken.has(uid)) return uid
  }
  throw new RametError('NO_CAPACITY', { message: `all ${range.count} user ids for VMs are taken` })
}

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
