import type { SnapshotInfo } from '../../client/index.ts'
import { formatBytes } from '../../shared/limits.ts'
import { defineCommand, list, value } from '../command.ts'
import { formatAge, formatDuration } from '../format.ts'
import { type Column, showList } from '../output.ts'
import { storedBytesOf } from '../snapshot-lines.ts'

const columns: readonly Column<SnapshotInfo>[] = [
  { heading: 'NAME', of: (snapshot) => snapshot.name },
  { heading: 'STATE', of: (snapshot) => snapshot.state },
  { heading: 'VM', of: (snapshot) => snapshot.vm.name },
  { heading: 'CPUS', of: (snapshot) => String(snapshot.cpus) },
  { heading: 'MEMORY', of: (snapshot) => formatBytes(snapshot.memoryBytes) },
  { heading: 'STORED', of: (snapshot) => formatBytes(storedBytesOf(snapshot)) },
  { heading: 'RESTORED', of: (snapshot) => String(snapshot.restoreCount) },
  { heading: 'EXPIRES', of: (snapshot) => expiry(snapshot.expiresAt) },
  { heading: 'AGE', of: (snapshot) => formatAge(snapshot.createdAt) },
]

const expiry = (time: string | undefined) =>
  time === undefined ? '-' : `in ${formatDuration(Math.max(0, Date.parse(time) - Date.now()))}`

export default defineCommand({
  description:
    'Lists snapshots. STORED is what memory and disks take on disk, without what they share with a template or an image; RESTORED counts how often each was restored. The vm that one is of may be gone.',
  examples: [
    { line: 'ramet snapshot ls', does: 'All snapshots.' },
    { line: 'ramet snapshot ls --vm web', does: 'Those of one vm.' },
    { line: 'ramet snapshot ls -l job=nightly -q', does: 'The names of those with a label.' },
  ],
  arguments: {},
  options: {
    vm: value('--vm <vm>', 'only those of this vm, by name or id', 'vm'),
    label: list('-l, --label <key[=value]>', 'only those with this label; repeat for more', (text) => text),
  },
  run: async ({ options }, context) => {
    const ramet = await context.ramet()
    const { signal } = context
    const snapshots = await ramet.snapshots.list({
      signal,
      label: options.label,
      ...(options.vm === undefined ? {} : { vm: options.vm }),
    })
    const rows = snapshots.map((snapshot) => snapshot.info)
    await showList(context, rows, columns, 'there are no snapshots; make one with: ramet snapshot create VM')
    return undefined
  },
})
