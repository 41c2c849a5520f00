import { rm } from 'node:fs/promises'
import { setClock } from '../../agent/clock.ts'
import { thaw } from '../../agent/freeze.ts'
import { shutDown } from '../../agent/shutdown.ts'
import type { OperationKind } from '../../api/operation.ts'
import type { VmStop } from '../../api/vm-create.ts'
import { setLinks } from '../../fork/capture.ts'
import { pauseGuest, resumeGuest } from '../../qemu/incoming.ts'
import { asRametError, RametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import { isBeingForked } from '../fork/being-forked.ts'
import { linksUp, requireAgent } from '../guest/agentless.ts'
import { identify } from '../guest/identify.ts'
import type { OperationHandle } from '../operations.ts'
import type { EngineParts } from '../parts.ts'
import type { VmRecord } from '../records.ts'
import type { Changes } from '../registry.ts'
import { undoGoingBack } from '../restore/going-back.ts'
import { lostMemoryOf, requireMemory } from '../restore/lost-memory.ts'
import { releaseCheckpoint } from '../restore/suspended-files.ts'
import { illegal, liveStates } from '../state.ts'
import { transition } from '../vm-states.ts'
import { endAllOf, removeDirectory } from './release-vm.ts'
import { ttlPaused, ttlResumed } from './ttl-changes.ts'
import type { VmRuntime } from './vm-runtime.ts'

// Everything here runs under the vm's lock (`Runtimes.exclusively`).

/** Asked before the state changes: a vm that nothing runs for must not wait in a state that only its runtime ends. */
function runtimeOf(parts: EngineParts, id: string, verb: string): VmRuntime {
  const vm = parts.context.vms.find(id)
  const runtime = parts.runtimes.get(id)
  if (runtime === undefined) throw illegal(vm.name, vm.state, verb)
  return runtime
}

/** What the record says of a pause that nobody asked for. */
export type PauseReason = Pick<Changes<VmRecord>, 'idlePaused' | 'stateReason'>

/**
 * The guest's processors stand; its time to live stands too.
 *
 * @param because what else the record says of it from its beginning on
 */
export async function pauseVm(parts: EngineParts, id: string, because: PauseReason = {}): Promise<VmRecord> {
  const { context } = parts
  const runtime = runtimeOf(parts, id, 'pause')
  await transition(context, id, 'pause', because)
  try {
    await pauseGuest(runtime.qemu)
  } catch (error) {
    await transition(context, id, 'started')
    throw error
  }
  const paused = await transition(context, id, 'paused', (record) => ttlPaused(record, context.clock.nowMs()))
  parts.ttl.reschedule()
  return paused
}

/**
 * Lets a paused guest go on, and its workload, which a fork may have left frozen in it; one that came back from disk is
 * told so first, if it has not been.
 *
 * @throws RametError when the workload could not be thawed, or the guest be told; it executes then
 */
async function wake(parts: EngineParts, vm: VmRecord, runtime: VmRuntime): Promise<Changes<VmRecord>> {
  await resumeGuest(runtime.qemu)
  if (!vm.frozenWhilePaused && !vm.untold) return {}
  const session = await runtime.guest.session()
  if (vm.untold) await identify(parts.context, parts.identity, vm, session)
  if (vm.frozenWhilePaused) await thaw(session)
  if (vm.untold && linksUp(vm)) await setLinks(runtime.qemu, vm.nics, true)
  return { frozenWhilePaused: undefined, untold: undefined }
}

/** Lets the guest go on, and tells it what time it is by now. */
export async function resumeVm(parts: EngineParts, id: string): Promise<VmRecord> {
  const { context } = parts
  const runtime = runtimeOf(parts, id, 'resume')
  const vm = await transition(context, id, 'resume')
  let awake: Changes<VmRecord>
  try {
    awake = await wake(parts, vm, runtime)
  } catch (error) {
    await pauseGuest(runtime.qemu).catch(() => {})
    await transition(context, id, 'paused')
    throw error
  }
  const running = await transition(context, id, 'started', (record) => ({
    ...ttlResumed(record, context.clock.nowMs()),
    ...awake,
    stateReason: undefined,
  }))
  parts.ttl.reschedule()
  // A merge that met a full disk may fit now, as what the guest wrote does.
  parts.settling.schedule()
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
  const runtime = runtimeOf(parts, id, 'stop')
  const before = context.vms.find(id)
  if (!options.force) {
    requireAgent(before, 'stop')
    requireMemory(before)
  }
  const vm = await transition(context, id, 'stop')
  // A guest that stands for good cannot shut down.
  if (lostMemoryOf(before) !== undefined) return await finishStop(parts, vm, runtime, 'kill')
  const timeoutMs = options.timeoutMs ?? limits.guestShutdownTimeoutMs
  handle.progress({ stage: 'stopping', message: `${vm.name} shuts down` })
  const deadline = AbortSignal.any([AbortSignal.timeout(timeoutMs), handle.signal])
  let awake: Changes<VmRecord> = {}
  try {
    if (before.state === 'paused') awake = await wake(parts, before, runtime)
    await shutDown(await runtime.guest.session(deadline), { signal: deadline })
    await endWithin(runtime, deadline)
  } catch (error) {
    if (options.force && !handle.signal.aborted) return await finishStop(parts, vm, runtime, 'kill')
    const ended = await Promise.race([runtime.ended, Promise.resolve(undefined)])
    if (ended === undefined) {
      // It runs on; should it end yet, that is its own doing.
      await transition(context, id, 'started', (record) => ({
        ...ttlResumed(record, context.clock.nowMs()),
        ...awake,
      }))
      parts.ttl.reschedule()
      handle.signal.throwIfAborted()
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

/**
 * Ends QEMU at once, as if the power were cut. What was under way when this was asked for (see `cutShort`)
 * may have brought the vm to its end already.
 */
export async function killVm(parts: EngineParts, id: string): Promise<VmRecord> {
  const before = parts.context.vms.find(id)
  if (!liveStates.has(before.state) && before.state !== 'suspended') return before
  if (before.goingBack !== undefined) return killGoingBack(parts, id)
  const vm = await transition(parts.context, id, 'kill')
  if (before.state === 'suspended') await releaseCheckpoint(parts.context, id)
  const runtime = parts.runtimes.get(id)
  if (runtime === undefined) {
    await parts.runtimes.drop(id)
    await endAllOf(parts.context, id)
    return transition(parts.context, id, 'stopped', stoppedNow(parts))
  }
  return finishStop(parts, vm, runtime, 'kill')
}

/** What it had could not be put back when its restore failed: that comes first, since its disks may be of two moments. */
async function killGoingBack(parts: EngineParts, id: string): Promise<VmRecord> {
  await parts.runtimes.drop(id)
  await endAllOf(parts.context, id)
  await undoGoingBack(parts.context, id)
  return killVm(parts, id)
}

/**
 * Called before waiting for the vm's lock: what is under way on a vm that shall end need not come to its end
 * first. What goes on on it alone is cancelled; a fork or a capture, which is more than this vm, loses its QEMU.
 */
export function cutShort(parts: EngineParts, vm: VmRecord, kinds: readonly OperationKind[]): void {
  const { context } = parts
  const message = `${vm.name} was killed or removed meanwhile`
  context.operations.cancelOn(vm.id, kinds, message)
  parts.restores.interrupt(vm.id, new RametError('CANCELLED', { message }))
  if (vm.state !== 'capturing' && !isBeingForked(vm)) return
  parts.runtimes
    .get(vm.id)
    ?.qemu.kill()
    .catch((error: unknown) => {
      context.log.warn({ vm: vm.name, error: asRametError(error).message }, 'QEMU could not be ended at once')
    })
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
  ports: 'close' | 'keep' = 'close',
): Promise<void> {
  await runtime.console.drain(runtime.qemu)
  await parts.runtimes.drop(vmId, ports)
  if (how === 'quit') await runtime.qemu.quit()
  else await runtime.qemu.kill()
  await endAllOf(parts.context, vmId)
  parts.ttl.reschedule()
  parts.settling.schedule()
}

function stoppedNow(parts: EngineParts): Changes<VmRecord> {
  return {
    process: undefined,
    helpers: [],
    baseId: undefined,
    restore: undefined,
    stoppedAtMs: parts.context.clock.nowMs(),
    expiresAtMs: undefined,
    ttlLeftMs: undefined,
  }
}

/** Removes a vm and all it has. With `force` it is killed first if it runs. */
export async function removeVm(parts: EngineParts, id: string, force: boolean): Promise<void> {
  const { context } = parts
  const vm = context.vms.find(id)
  if (liveStates.has(vm.state)) {
    if (!force) throw illegal(vm.name, vm.state, 'remove')
    // What it had before it went back to a snapshot need not be put back, if that could be done at all.
    if (vm.goingBack === undefined) await killVm(parts, id)
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
  await rm(context.paths.suspended(id), { recursive: true, force: true })
  await context.vms.remove(id)
  parts.runtimes.forget(id)
  await parts.bases.sweep()
  parts.settling.schedule()
  if (vm === undefined) return
  context.seats.free(vm.seat)
  parts.ttl.reschedule()
  context.events.emit({ type: 'vm.removed', resource: { kind: 'vm', id, name: vm.name } })
}
