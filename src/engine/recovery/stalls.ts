import { asRametError } from '../../shared/errors.ts'
import type { EngineParts } from '../parts.ts'
import type { VmRecord } from '../records.ts'
import { ttlPaused } from '../vm/ttl-changes.ts'
import type { VmRuntime } from '../vm/vm-runtime.ts'
import { transition } from '../vm-states.ts'

/** QEMU's run state when it has stopped a guest because the host has no room for what it writes. */
export const stalledState = 'io-error'

/** Why a vm is paused that nobody paused. The write that did not fit is tried again when it is resumed. */
export function stallReason(vm: Pick<VmRecord, 'name'>): string {
  return `the host has no space left for what it writes to its disk: free some, then \`ramet resume ${vm.name}\``
}

/**
 * QEMU stops a guest whose write meets a full file system, rather than tell the guest of an error that no program
 * in it expects: nothing is lost. The vm is `paused` then, as if somebody had done so, and says why.
 */
export async function settleStall(parts: EngineParts, vmId: string, runtime: VmRuntime): Promise<void> {
  const { context } = parts
  await parts.runtimes
    .exclusively(vmId, async () => {
      const vm = context.vms.get(vmId)
      if (vm?.state !== 'running' || parts.runtimes.get(vmId) !== runtime) return
      // It may have been let go on meanwhile, by whatever held the lock.
      if ((await runtime.qemu.runState()) !== stalledState) return
      await transition(context, vmId, 'pause')
      const stateReason = stallReason(vm)
      await transition(context, vmId, 'paused', (record) => ({
        ...ttlPaused(record, context.clock.nowMs()),
        stateReason,
      }))
      parts.ttl.reschedule()
      context.log.warn({ vm: vm.name }, stateReason)
    })
    .catch((error: unknown) => {
      context.log.error({ vmId, error: asRametError(error).message }, 'a vm without space could not be settled')
    })
}
