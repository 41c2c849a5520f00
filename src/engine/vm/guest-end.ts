import type { VmFailure } from '../../api/vm.ts'
import { RametError } from '../../shared/errors.ts'
import type { EngineContext } from '../context.ts'
import type { VmRecord } from '../records.ts'
import { wasKilledForMemory } from './limits-of-vm.ts'
import type { GuestEnd, VmRuntime } from './vm-runtime.ts'

/** What an end against the will of everybody means. `shutdown` is the guest's own decision and no failure. */
export function describeEnd(
  context: EngineContext,
  vm: VmRecord,
  end: GuestEnd,
): Pick<VmFailure, 'reason' | 'message' | 'event'> {
  if (end.kind === 'panic') return { reason: 'guest-panic', message: 'the guest kernel panicked', event: end.event }
  if (end.kind === 'shutdown') return { reason: 'other', message: 'the guest shut down', event: 'SHUTDOWN' }
  const { exitCode, signal } = end.exit
  const event = signal === undefined ? `exit ${exitCode ?? 'unknown'}` : signal
  if (wasKilledForMemory(context, vm)) {
    return { reason: 'out-of-memory', message: 'the kernel killed QEMU: the vm went over its memory limit', event }
  }
  return { reason: 'vmm-exit', message: `QEMU ended by itself (${event})`, event }
}

/** The error for a guest that ended while somebody waited for it; its console is in it. */
export async function endError(
  context: EngineContext,
  vm: VmRecord,
  runtime: VmRuntime,
  end: GuestEnd,
): Promise<RametError> {
  if (end.kind !== 'exit') await runtime.console.drain(runtime.qemu)
  const { message, reason } = describeEnd(context, vm, end)
  const consoleLines = await runtime.console.tail()
  const details = {
    reason,
    consoleLines,
    ...(end.kind === 'exit' ? { log: runtime.qemu.failure('').details.log } : {}),
  }
  if (end.kind === 'exit') return runtime.qemu.failure(`${vm.name}: ${message}`)
  return new RametError(end.kind === 'panic' ? 'GUEST_PANIC' : 'VMM_FAILED', {
    message: `${vm.name}: ${message}`,
    details,
  })
}

/** Rejects when the guest ends first: for races against what is waited for. */
export async function untilEnd(context: EngineContext, vm: VmRecord, runtime: VmRuntime): Promise<never> {
  throw await endError(context, vm, runtime, await runtime.ended)
}
