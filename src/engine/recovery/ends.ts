import { asRametError } from '../../shared/errors.ts'
import type { EngineParts } from '../parts.ts'
import type { VmRecord } from '../records.ts'
import type { Changes } from '../registry.ts'
import { describeEnd } from '../vm/guest-end.ts'
import { takeDown } from '../vm/vm-actions.ts'
import type { GuestEnd, VmRuntime } from '../vm/vm-runtime.ts'
import { failureOf, transition } from '../vm-states.ts'

/** States in which an end is nobody's doing here; in the others whoever acts on the vm deals with it. */
const unattended: ReadonlySet<string> = new Set(['running', 'paused'])

/**
 * A guest has ended by itself: the vm becomes `stopped` or `failed`, with what is known of why, and is
 * started again if its policy says so.
 */
export async function settleEnd(
  parts: EngineParts,
  vmId: string,
  runtime: VmRuntime,
  end: GuestEnd,
  restart: (vm: VmRecord) => void,
): Promise<void> {
  const { context } = parts
  await parts.runtimes
    .exclusively(vmId, async () => {
      const vm = context.vms.get(vmId)
      if (vm === undefined || !unattended.has(vm.state) || parts.runtimes.get(vmId) !== runtime) return
      const described = describeEnd(context, vm, end)
      await takeDown(parts, vmId, runtime, end.kind === 'exit' ? 'kill' : 'quit')
      const over: Changes<VmRecord> = {
        process: undefined,
        helpers: [],
        baseId: undefined,
        restore: undefined,
        expiresAtMs: undefined,
        stoppedAtMs: context.clock.nowMs(),
      }
      if (end.kind === 'shutdown') {
        await transition(context, vmId, 'stopped', { ...over, stateReason: 'the guest shut down' })
      } else {
        const consoleLines = await runtime.console.tail()
        await transition(context, vmId, 'failed', {
          ...over,
          failure: failureOf(context, { ...described, consoleLines }),
        })
      }
      const settled = context.vms.find(vmId)
      if (shallRestart(settled, end.kind === 'shutdown' ? 'shutdown' : 'failure')) restart(settled)
    })
    .catch((error: unknown) => {
      context.log.error({ vmId, error: asRametError(error).message }, 'the end of a vm could not be settled')
    })
}

/** What the policy says: `always` also after a shutdown of its own. */
export function shallRestart(vm: Pick<VmRecord, 'restart' | 'restartCount'>, end: 'shutdown' | 'failure'): boolean {
  const { mode, maxRetries } = vm.restart
  if (mode === 'no' || (mode === 'on-failure' && end === 'shutdown')) return false
  return maxRetries === undefined || vm.restartCount < maxRetries
}

/** Longer from one restart in a row to the next: a vm that cannot run shall not keep the host busy. */
export function restartDelayMs(restartCount: number): number {
  return Math.min(1000 * 2 ** restartCount, 60_000)
}
