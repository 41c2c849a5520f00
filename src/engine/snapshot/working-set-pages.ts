import { readWorkingSets } from '../../checkpoint/file/working-set.ts'
import { pageBytes } from '../../memory/base.ts'
import { asRametError } from '../../shared/errors.ts'
import type { EngineContext } from '../context.ts'
import { checkpointPathOf } from './snapshot-files.ts'

/** Writes down how many pages the newest restore of a snapshot used first, which its page server has recorded. Never throws. */
export async function recordWorkingSet(context: EngineContext, snapshotId: string): Promise<void> {
  const { log, paths, snapshots } = context
  try {
    const { checkpoint, vm } = snapshots.find(snapshotId)
    if (checkpoint === undefined) return
    const pageCount = vm.machine.memoryBytes / pageBytes
    const sets = await readWorkingSets(checkpointPathOf(paths, snapshotId), checkpoint.digest, pageCount)
    const workingSetPages = sets.at(-1)?.pages.length
    if (workingSetPages !== undefined) await snapshots.update(snapshotId, { workingSetPages })
  } catch (error) {
    // A hint only; and the snapshot may have gone.
    log.debug({ snapshotId, error: asRametError(error).message }, 'its working set was not counted')
  }
}
