import { type Launched, type LaunchPlan, launch } from '../../fork/launch.ts'
import { asRametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import type { OperationHandle } from '../operations.ts'
import type { EngineParts } from '../parts.ts'
import type { RestoreRecord, VmRecord } from '../records.ts'
import { endAllOf } from '../vm/release-vm.ts'
import { isServerLost, type RestorePlan } from './restores.ts'

/** A QEMU whose guest is there and stands; its memory is on its way. */
export interface LaunchedRestore {
  launched: Launched
  restore: RestoreRecord
  /** from QEMU being there until its guest was, milliseconds */
  loadMs: number
}

/**
 * Starts a QEMU and begins to restore its guest. A page server that dies before the guest is there takes QEMU with it;
 * then all of it is begun again, which takes time and nothing else. The disks are made once.
 *
 * @throws RametError as `launch` and `Restores.begin`; nothing of it runs then
 */
export async function launchRestored(
  parts: EngineParts,
  plan: LaunchPlan,
  of: { vm: Pick<VmRecord, 'id' | 'name'>; from: RestorePlan },
  handle: Pick<OperationHandle, 'id'> & Partial<OperationHandle>,
): Promise<LaunchedRestore> {
  const { context } = parts
  const { vm, from } = of
  for (let attempt = 1; ; attempt += 1) {
    void parts.restores.expect(vm.id, from)
    const launched = await launch(plan, { journal: context.journal, spawn: context.spawn }, handle.signal)
    const startMs = performance.now()
    try {
      const restore = await parts.restores.begin(vm, launched.qemu, from, handle.signal)
      // For streams that are loaded whole: nothing comes on it.
      launched.qemu.incoming?.destroy()
      return { launched, restore, loadMs: performance.now() - startMs }
    } catch (error) {
      await launched.qemu.kill()
      await endAllOf(context, vm.id)
      if (!isServerLost(error) || attempt >= limits.restoreAttemptCount || handle.signal?.aborted) throw error
      context.log.warn({ vm: vm.name, attempt, error: asRametError(error).message }, 'a restore is begun again')
    }
  }
}
