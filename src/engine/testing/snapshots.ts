import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { SnapshotCreate } from '../../api/snapshot.ts'
import { newId } from '../../shared/ids.ts'
import type { SnapshotRecord, VmRecord } from '../records.ts'
import { checkpointFile } from '../snapshot/snapshot-files.ts'
import { plannedRecord } from '../snapshot/snapshot-record.ts'
import type { TestEngine } from './test-engine.ts'

/** A snapshot that could have been made of a vm; its checkpoint is a few bytes. */
export async function storedSnapshot(
  { context }: TestEngine,
  vm: VmRecord,
  changes: Partial<SnapshotRecord> = {},
): Promise<SnapshotRecord> {
  const request = SnapshotCreate.parse({})
  const planned = plannedRecord(context, { id: newId('snap'), name: 'saved', request }, vm)
  const dir = context.paths.snapshot(planned.id)
  await mkdir(dir)
  await writeFile(join(dir, checkpointFile), 'memory')
  const checkpoint = { digest: 'ab'.repeat(32), fileBytes: 6 }
  return context.snapshots.create({ ...planned, state: 'ready', checkpoint, ...changes })
}
