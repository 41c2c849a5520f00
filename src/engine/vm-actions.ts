import { setClock } from '../agent/clock.ts'
import { shutDown } from '../agent/shutdown.ts'
import type { VmStop } from '../api/vm-create.ts'
import { pauseGuest, resumeGuest } from '../qemu/incoming.ts'
import { RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import type { OperationHandle } from './operations.ts'
import type { EngineParts } from './parts.ts'
import type { VmRecord } from './records.ts'
import type { Changes } from './registry.ts'
import { endAllOf, removeDirectory } from './release-vm.ts'
import { illegal, liveStates } from './state.ts'
import type { VmRuntime } from './vm-runtime.ts'
import { transition } from './vm-states.ts'

// Everything here runs under the vm's lock (`Runtimes.exclusively`).

function runtimeOf(parts: EngineParts, vm: VmRecord, verb: string): VmRuntime {
  const runtime = parts.runtimes.get(vm.id)
  if (runtime === undefined) throw illegal(vm.name, vm.state, verb)
  return runtime
}

/** The guest's processors stand; its time to live stands too. */
export async function pauseVm(parts: EngineParts, id: string): Promise<VmRecord> {
  const { context } = parts
  const vm = await transition(context, id, 'pause')
  const runtime = runtimeOf(parts, vm, 'pause')
  try {
    await pauseGuest(runtime.qemu)
  } catch (error) {
    await transition(context, id, 'started')
    throw error
  }
  const left = vm.expiresAtMs === undefined ? {} : { ttlLeftMs: vm.expiresAtMs - context.clock.nowMs() }
  const paused = await transition(context, id, 'paused', { ...left, expiresAtMs: undefined })
  parts.ttl.reschedule()
  return paused
}

/** Lets the guest go on, and tells it what time it is by now. */
export async function resumeVm(parts: EngineParts, id: string): Promise<VmRecord> {
  const { context } = parts
  const vm = await transition(context, id, 'resume')
  const runtime = runtimeOf(parts, vm, 'resume')
  try {
    await resumeGuest(runtime.qemu)
  } catch (error) {
    await transition(context, id, 'paused')
    throw error
  }
  const ttl = vm.ttlLeftMs === undefined ? {} : { expiresAtMs: context.clock.nowMs() + vm.ttlLeftMs }
  const running = await transition(context, id, 'started', { ...ttl, ttlLeftMs: undefined })
  parts.ttl.reschedule()
  try {
    await setClock(await runtime.guest.session(), 0)
  } catch (error) {
    context.log.warn({ vm: vm.name, error }, 'the clock of a resumed guest could not be set')
  }
  return running
}

/** Asks the guest to shut down and waits until it has. */
export async function stopVm(
  parts: EngineParts,
  id: string,
  options: VmStop,
  handle: OperationHandle,
): Promise<VmRecord> {
  const { context } = parts
  const before = context.vms.find(id)
  const vm = await transition(context, id, 'stop')
  const runtime = runtimeOf(parts, vm, 'stop')
  const timeoutMs = options.timeoutMs ?? limits.guestShutdownTimeoutMs
  handle.progress({ stage: 'stopping', message: `${vm.name} shuts down` })
  try {
    if (before.state === 'paused') await resumeGuest(runtime.qemu)
    const deadline = AbortSignal.any([AbortSignal.timeout(timeoutMs), handle.signal])
    await shutDown(await runtime.guest.session(deadline))
    await endWithin(runtime, deadline)
  } catch (error) {
    handle.signal.throwIfAborted()
    if (options.force) return await finishStop(parts, vm, runtime, 'kill')
    const ended = await Promise.race([runtime.ended, Promise.resolve(undefined)])
    if (ended === undefined) {
      await transition(context, id, 'started')
      throw new RametError('TIMEOUT', {
        message: `${vm.name} has not shut down within ${timeoutMs} ms`,
        cause: error,
        remediation: `Give it more time with --timeout, or end it with \`ramet stop --force ${vm.name}\`.`,
      })
    }
  }
  return await finishStop(parts, vm, runtime, 'quit')
}

function endWithin(runtime: VmRuntime, deadline: AbortSignal): Promise<unknown> {
  const late = new Promise<never>((_, reject) => {
    const onAbort = () => reject(deadline.reason)
    if (deadline.aborted) onAbort()
    deadline.addEventListener('abort', onAbort, { once: true })
  })
  return Promise.race([runtime.ended, late])
}

/** Ends QEMU at once, as if the power were cut. */
export async function killVm(parts: EngineParts, id: string): Promise<VmRecord> {
  const vm = await transition(parts.context, id, 'kill')
  const runtime = parts.runtimes.get(id)
  if (runtime === undefined) {
    await endAllOf(parts.context, id)
    return transition(parts.context, id, 'stopped', stoppedNow(parts))
  }
  return finishStop(parts, vm, runtime, 'kill')
}

/** The guest has ended, or shall now: takes down what is left and settles in `stopped`. */
export async function finishStop(
  parts: EngineParts,
  vm: VmRecord,
  runtime: VmRuntime,
  how: 'quit' | 'kill',
): Promise<VmRecord> {
  await takeDown(parts, vm.id, runtime, how)
  return transition(parts.context, vm.id, 'stopped', stoppedNow(parts))
}

/** Ends QEMU and everything beside it; the console is kept. */
export async function takeDown(
  parts: EngineParts,
  vmId: string,
  runtime: VmRuntime,
  how: 'quit' | 'kill',
): Promise<void> {
  await runtime.console.drain(runtime.qemu)
  await parts.runtimes.drop(vmId)
  if (how === 'quit') await runtime.qemu.quit()
  else await runtime.qemu.kill()
  await endAllOf(parts.context, vmId)
  parts.ttl.reschedule()
}

function stoppedNow(parts: EngineParts): Changes<VmRecord> {
  return {
    process: undefined,
    helpers: [],
    baseId: undefined,
    stoppedAtMs: parts.context.clock.nowMs(),
    expiresAtMs: undefined,
  }
}

/** Removes a vm and all it has. With `force` it is killed first if it runs. */
export async function removeVm(parts: EngineParts, id: string, force: boolean): Promise<void> {
  const { context } = parts
  const vm = context.vms.find(id)
  if (liveStates.has(vm.state)) {
    if (!force) throw illegal(vm.name, vm.state, 'remove')
    await killVm(parts, id)
  }
  await transition(context, id, 'remove')
  await discardVm(parts, id)
}

/** Takes away everything of a vm in state `removing`, its record last. Can be repeated after a crash. */
export async function discardVm(parts: EngineParts, id: string): Promise<void> {
  const { context } = parts
  const vm = context.vms.get(id)
  const runtime = parts.runtimes.get(id)
  await parts.runtimes.drop(id)
  await runtime?.qemu.kill()
  await endAllOf(context, id)
  await removeDirectory(context, id)
  await context.vms.remove(id)
  parts.runtimes.forget(id)
  if (vm === undefined) return
  context.seats.free(vm.seat)
  parts.ttl.reschedule()
  context.events.emit({ type: 'vm.removed', resource: { kind: 'vm', id, name: vm.name } })
}
