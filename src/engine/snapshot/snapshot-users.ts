import type { EngineContext } from '../context.ts'
import type { RestoreRecord } from '../records.ts'

/** Names of the vms whose memory is still in a snapshot: by their records, which outlive a daemon. */
export function vmsNeeding({ vms }: EngineContext, snapshotId: string): string[] {
  return vms
    .list()
    .filter(
      ({ goingBack, restore, suspended }) =>
        isNeeded(snapshotId, restore) ||
        [suspended, goingBack?.suspended].some((each) => each?.snapshotId === snapshotId),
    )
    .map(({ name }) => name)
}

/** Whether memory still comes from it. */
function isNeeded(snapshotId: string, restore: RestoreRecord | undefined): boolean {
  return restore?.snapshotId === snapshotId && restore.state !== 'done'
}
