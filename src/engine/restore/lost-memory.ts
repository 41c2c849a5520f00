import { RametError } from '../../shared/errors.ts'
import type { VmRecord } from '../records.ts'
import { liveStates } from '../state.ts'

type Restored = Pick<VmRecord, 'name' | 'state' | 'restore'>

/** Why a vm that was restored cannot be complete any more; undefined when it can, or is. A sentence. */
export function lostMemoryOf({ restore, state }: Pick<Restored, 'restore' | 'state'>): string | undefined {
  if (restore?.state !== 'failed' || !liveStates.has(state)) return undefined
  return `its memory cannot come: ${restore.problem ?? 'some of it is damaged'}`
}

export function lostMemory(name: string, why: string): RametError {
  return new RametError('CHECKPOINT_DAMAGED', {
    message: `${name} cannot go on: ${why}`,
    remediation: `Nothing brings that memory back: \`ramet kill ${name}\`, then boot it anew, or restore another snapshot.`,
  })
}

/**
 * For whatever needs its guest, which stands wherever it touches memory that cannot come.
 *
 * @throws RametError `CHECKPOINT_DAMAGED`
 */
export function requireMemory(vm: Restored): void {
  const why = lostMemoryOf(vm)
  if (why !== undefined) throw lostMemory(vm.name, why)
}
