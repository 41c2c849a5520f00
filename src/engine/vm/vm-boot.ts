import { bootSchedule } from '../../agent/opening.ts'
import type { AgentSession } from '../../agent/session.ts'
import type { Timings } from '../../api/timings.ts'
import { setLinks } from '../../fork/capture.ts'
import { launch } from '../../fork/launch.ts'
import { resumeGuest } from '../../qemu/incoming.ts'
import { asRametError, RametError } from '../../shared/errors.ts'
import { faultPoint } from '../../shared/fault.ts'
import { limits } from '../../shared/limits.ts'
import type { EngineContext } from '../context.ts'
import { identify } from '../guest/identify.ts'
import { bootNeed } from '../host/capacity.ts'
import type { OperationHandle } from '../operations.ts'
import type { EngineParts } from '../parts.ts'
import type { VmRecord } from '../records.ts'
import { handOver } from '../recovery/handed-over.ts'
import type { Changes } from '../registry.ts'
import { releaseCheckpoint } from '../restore/suspended-files.ts'
import { failureOf, transition } from '../vm-states.ts'
import { endError, untilEnd } from './guest-end.ts'
import { confine, startNeed } from './limits-of-vm.ts'
import { endAllOf } from './release-vm.ts'
import { ttlStarted } from './ttl-changes.ts'
import { launchPlan } from './vm-plan.ts'
import type { VmRuntime } from './vm-runtime.ts'

/**
 * Boots a vm that has no process: from `created`, `stopped` or `failed` to `running`, with its agent
 * answering and its identity proved. When it does not get there, nothing runs, and the vm says why.
 *
 * @throws RametError `ILLEGAL_STATE`, `NO_CAPACITY`, `GUEST_PANIC`, `GUEST_UNREACHABLE`, `VMM_FAILED`,
 *   `CANCELLED`
 */
export async function bootVm(parts: EngineParts, id: string, handle: OperationHandle): Promise<VmRecord> {
  const { context } = parts
  const startMs = performance.now()
  const { name, machine } = context.vms.find(id)
  const need = startNeed(`starting ${name}`, bootNeed(machine.memoryBytes))
  // One that is refused stays as it was. One that runs is told that it does.
  if (parts.runtimes.get(id) === undefined) parts.admission.check(need)
  const vm = await transition(context, id, 'start', cleared, 'start')
  try {
    using _ = await parts.admission.admit(need, handle.signal)
    const { runtime, timings } = await spawn(parts, vm, handle)
    const booted = await reachAgent(parts, vm, runtime, handle)
    runtime.guest.publish(booted.session)
    // Before it counts as having run: a start that cannot have the ports it was asked for has failed.
    await parts.ports.publishAll(vm, vm.startedAtMs === undefined ? 'first' : 'again')
    const running = await transition(context, id, 'started', (record) => ({
      ...ttlStarted(record, context.clock.nowMs()),
      agentProtocol: booted.session.version,
      startedAtMs: context.clock.nowMs(),
      timings: { ...timings, ...booted.timings, totalMs: performance.now() - startMs },
    }))
    context.measure({ kind: 'boot', ms: booted.timings.bootMs ?? 0 })
    parts.ttl.reschedule()
    keepBootConsole(context, runtime)
    parts.settling.schedule()
    return running
  } catch (error) {
    throw await settleFailedStart(parts, vm, asRametError(error))
  }
}

const cleared: Changes<VmRecord> = {
  failure: undefined,
  stateReason: undefined,
  baseId: undefined,
  identity: undefined,
  // Nothing of the fork's moment is in memory any more.
  frozenAtFork: undefined,
  frozenWhilePaused: undefined,
  untold: undefined,
  capturedPaused: undefined,
  restore: undefined,
  process: undefined,
  helpers: [],
  timings: undefined,
}

interface Spawned {
  runtime: VmRuntime
  timings: Timings
}

async function spawn(parts: EngineParts, vm: VmRecord, handle: OperationHandle): Promise<Spawned> {
  const { context } = parts
  await releaseCheckpoint(context, vm.id)
  handle.progress({ stage: 'spawning', message: `starting QEMU for ${vm.name}` })
  await parts.settling.settleStopped(vm, handle.signal)
  const manifest = await parts.images.manifest(vm.imageId)
  await parts.fingerprints.check(vm)
  await parts.fingerprints.checkDeltas(vm)
  const plan = launchPlan(context, { vm, manifest, operationId: handle.id })
  await parts.runtimes.consoleOf(vm.id).clear()
  const launched = await launch(plan, { journal: context.journal, spawn: context.spawn }, handle.signal)
  const { qemu, helpers } = launched
  const runtime = parts.runtimes.add(vm, qemu)
  await context.vms.update(vm.id, { process: qemu.identity, helpers })
  handOver(context, vm.id)
  faultPoint('boot.recorded')
  // Not passt: it would leave the group whose filter keeps the guest off this host.
  await confine(parts, vm, qemu.identity.pid)
  return { runtime, timings: { diskMs: launched.diskMs, spawnMs: launched.spawnMs } }
}

async function reachAgent(
  parts: EngineParts,
  vm: VmRecord,
  runtime: VmRuntime,
  handle: OperationHandle,
): Promise<{ session: AgentSession; timings: Timings }> {
  const { context } = parts
  handle.progress({ stage: 'booting', message: `${vm.name} boots` })
  const bootStartMs = performance.now()
  const restart = watchForRestart(vm, runtime)
  const ended = Promise.race([untilEnd(context, vm, runtime), restart.seen])
  ended.catch(() => {})
  await setLinks(runtime.qemu, vm.nics, vm.link === 'up')
  await Promise.race([resumeGuest(runtime.qemu), ended])
  const opened = runtime.guest.open(bootSchedule, limits.guestBootTimeoutMs, handle.signal)
  const session = await Promise.race([opened, ended]).finally(restart.stop)
  const bootMs = performance.now() - bootStartMs
  const identityStartMs = performance.now()
  await Promise.race([identify(context, parts.identity, vm, session, handle.signal), ended])
  return { session, timings: { bootMs, identityMs: performance.now() - identityStartMs } }
}

/**
 * What restarts a guest before its agent answers is a kernel that panicked before it could say so to QEMU. It
 * would do so again and again.
 */
function watchForRestart(vm: VmRecord, runtime: VmRuntime): { seen: Promise<never>; stop: () => void } {
  const { promise, reject } = Promise.withResolvers<never>()
  const stop = runtime.qemu.qmp.onEvent(({ name, data }) => {
    if (name !== 'RESET' || data.guest !== true) return
    reject(new RametError('GUEST_PANIC', { message: `${vm.name}: the guest restarted before its agent answered` }))
  })
  return { seen: promise, stop }
}

/** The boot's console is worth keeping before anything newer pushes it out of QEMU. */
function keepBootConsole(context: EngineContext, runtime: VmRuntime): void {
  runtime.console.drain(runtime.qemu).catch((error: unknown) => {
    context.log.warn({ vmId: runtime.vmId, error: asRametError(error).message }, 'the console could not be kept')
  })
}

/** A start that failed leaves no process; the vm is `failed` with the reason, or `stopped` when it was cancelled. */
async function settleFailedStart(parts: EngineParts, vm: VmRecord, error: RametError): Promise<RametError> {
  const { context } = parts
  const runtime = parts.runtimes.get(vm.id)
  // Whatever else goes wrong now, the vm must not stay in `starting`.
  const explained = await explain(context, vm, runtime, error).catch(() => error)
  await parts.runtimes.drop(vm.id)
  await endRemains(context, vm, runtime)
  const consoleLines = await parts.runtimes
    .consoleOf(vm.id)
    .tail()
    .catch(() => [])
  const changes = { process: undefined, helpers: [], expiresAtMs: undefined, stoppedAtMs: context.clock.nowMs() }
  if (error.code === 'CANCELLED') {
    await transition(context, vm.id, 'stopped', { ...changes, stateReason: 'its start was cancelled' })
    return error
  }
  const reason =
    explained.code === 'GUEST_PANIC' ? 'guest-panic' : explained.code === 'GUEST_UNREACHABLE' ? 'boot-timeout' : 'other'
  const failure = failureOf(context, { reason, message: explained.message, consoleLines })
  await transition(context, vm.id, 'failed', { ...changes, failure })
  return explained
}

/** What cannot be ended now is looked for again at the next start of the vm, or of the daemon. */
async function endRemains(context: EngineContext, vm: VmRecord, runtime: VmRuntime | undefined): Promise<void> {
  try {
    await runtime?.qemu.kill()
    await endAllOf(context, vm.id)
    handOver(context, vm.id)
  } catch (error) {
    context.log.error(
      { vm: vm.name, error: asRametError(error).message },
      'what a failed start left could not be ended',
    )
  }
}

/** An agent that was never reached is less telling than the guest's end, or its console. */
async function explain(
  context: EngineContext,
  vm: VmRecord,
  runtime: VmRuntime | undefined,
  error: RametError,
): Promise<RametError> {
  if (runtime === undefined || error.code === 'CANCELLED') return error
  const undecided = Symbol('undecided')
  const end = await Promise.race([runtime.ended, Promise.resolve(undecided)])
  if (typeof end !== 'symbol') return endError(context, vm, runtime, end)
  await runtime.console.drain(runtime.qemu)
  const consoleLines = await runtime.console.tail()
  if (consoleLines.length > 0) Object.assign(error.details, { consoleLines })
  return error
}
