import type { SnapshotInfo } from '../client/index.ts'
import { formatBytes } from '../shared/limits.ts'

const pageBytes = 4096

/** What a snapshot takes, in one line. */
export function savedLine({ memory, diskBytes = 0, disks }: SnapshotInfo): string {
  if (memory === undefined) return 'nothing is stored yet'
  const { pages, zeroPages, basePages, storedBytes } = memory
  const data = formatBytes((pages - zeroPages) * pageBytes)
  const shared = basePages === 0 ? '' : `, ${formatBytes(basePages * pageBytes)} of it in its template`
  const onDisk = disks.length === 0 ? '' : `, disks in ${formatBytes(diskBytes)}`
  return `${data} of memory${shared}, stored in ${formatBytes(storedBytes)}${onDisk}`
}

/** What a snapshot takes on disk, bytes. */
export function storedBytesOf({ memory, diskBytes = 0 }: SnapshotInfo): number {
  return (memory?.storedBytes ?? 0) + diskBytes
}
