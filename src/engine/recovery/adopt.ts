import { thaw } from '../../agent/freeze.ts'
import { setLinks } from '../../fork/capture.ts'
import { mergeDisks } from '../../fork/disk-point.ts'
import { bootId, isRunning } from '../../host/process-identity.ts'
import { disableBackground } from '../../qemu/background-snapshot.ts'
import { resumeGuest } from '../../qemu/incoming.ts'
import { adoptQemu, type QemuProcess } from '../../qemu/process.ts'
import { asRametError } from '../../shared/errors.ts'
import { floorsOf } from '../disk/settling.ts'
import { isBeingForked } from '../fork/being-forked.ts'
import { linksUp } from '../guest/agentless.ts'
import type { EngineParts } from '../parts.ts'
import type { VmRecord } from '../records.ts'
import type { Changes } from '../registry.ts'
import { forgetPast, undoGoingBack } from '../restore/going-back.ts'
import { placeDisks, removeWaitingDisks } from '../restore/place-disks.ts'
import { wakeAdopted } from '../restore/resume-suspended.ts'
import { releaseCheckpoint, releaseSpent } from '../restore/suspended-files.ts'
import { liveStates } from '../state.ts'
import { describeEnd } from '../vm/guest-end.ts'
import { endAllOf } from '../vm/release-vm.ts'
import { ttlPaused, ttlResumed } from '../vm/ttl-changes.ts'
import { discardVm } from '../vm/vm-actions.ts'
import { endFromRunState, type GuestEnd, type VmRuntime } from '../vm/vm-runtime.ts'
import { announceState, awakened, failureOf } from '../vm-states.ts'
import { handOver } from './handed-over.ts'
import { stalledState, stallReason } from './stalls.ts'

/**
 * Brings one vm from what an earlier daemon wrote down to what is so: adopts what runs, undoes what was
 * half done, and settles what ended meanwhile.
 */
export async function adoptVm(parts: EngineParts, vm: VmRecord): Promise<void> {
  const { context } = parts
  if (vm.state === 'removing') return discardVm(parts, vm.id)
  if (vm.goingBack !== undefined) return undoRestore(parts, vm)
  await forgetPast(context, vm.id)
  if (!liveStates.has(vm.state)) return leaveResting(parts, vm)
  if (vm.state === 'starting') return undoStart(parts, vm)
  if (vm.state === 'restoring' && vm.suspended?.resumedAtMs === undefined) return undoRestore(parts, vm)
  if (vm.process === undefined || !isRunning(vm.process)) return settleGone(parts, vm)
  try {
    await parts.restores.adopt(vm)
    const qemu = await adoptQemu(vm.process, context.paths.vm(vm.id))
    await parts.restores.adopted(vm.id, qemu)
    await takeOver(parts, vm, qemu)
  } catch (error) {
    context.log.error({ vm: vm.name, error: asRametError(error).message }, 'a running vm could not be adopted')
    await parts.runtimes.drop(vm.id)
    await endAllOf(context, vm.id)
    await settle(parts, vm, 'failed', {
      failure: failureOf(context, {
        reason: 'other',
        message: `it could not be adopted after a restart of the daemon: ${asRametError(error).message}`,
        consoleLines: await parts.runtimes.consoleOf(vm.id).tail(),
      }),
    })
  }
}

async function leaveResting(parts: EngineParts, vm: VmRecord): Promise<void> {
  const { context } = parts
  await endAllOf(context, vm.id)
  // One that was just about to end, since its memory was safe.
  if (vm.process !== undefined) await context.vms.update(vm.id, { process: undefined, helpers: [], baseId: undefined })
  if (vm.state === 'suspended') return parts.ports.publishAll(context.vms.find(vm.id), 'again')
  if (vm.suspended !== undefined) await releaseCheckpoint(context, vm.id)
}

/** Its guest has not run, so that it is on disk as before; or there was nothing to go back to. */
async function undoRestore(parts: EngineParts, vm: VmRecord): Promise<void> {
  await endAllOf(parts.context, vm.id)
  if (await undoGoingBack(parts.context, vm.id)) return leaveResting(parts, parts.context.vms.find(vm.id))
  if (vm.suspended?.placing) await placeDisks(parts.context, vm)
  else await removeWaitingDisks(parts.context, vm)
  if (vm.suspended !== undefined) {
    await settle(parts, vm, 'suspended', { restore: undefined })
    return parts.ports.publishAll(parts.context.vms.find(vm.id), 'again')
  }
  await settle(parts, vm, 'stopped', {
    restore: undefined,
    stateReason: 'the daemon was restarted while it was restored',
  })
}

/**
 * A start was not answered: a child whose fork was under way goes, as if it had failed, and so does a vm whose
 * making was; another boot ends as `stopped`, also that of a child that was forked long ago and started again.
 */
async function undoStart(parts: EngineParts, vm: VmRecord): Promise<void> {
  if (isBeingForked(vm) || wasBeingMade(parts, vm)) return discardVm(parts, vm.id)
  await endAllOf(parts.context, vm.id)
  await settle(parts, vm, 'stopped', { stateReason: 'the daemon was restarted while it started' })
}

/** Whoever asked for it was told that nothing came of it, as when they cancel. */
function wasBeingMade(parts: EngineParts, vm: VmRecord): boolean {
  if (vm.startedAtMs !== undefined) return false
  return parts.context.operations
    .list()
    .some(
      ({ kind, target, state, error }) =>
        (kind === 'vm.create' || kind === 'vm.clone') &&
        target.id === vm.id &&
        state === 'failed' &&
        error?.code === 'CANCELLED',
    )
}

async function settleGone(parts: EngineParts, vm: VmRecord): Promise<void> {
  const { context } = parts
  await endAllOf(context, vm.id)
  const rebooted = vm.process !== undefined && vm.process.bootId !== bootId()
  const message = rebooted ? 'the host was restarted' : 'QEMU ended while no daemon ran'
  const reason = rebooted ? 'host-restart' : 'vmm-exit'
  const consoleLines = await parts.runtimes.consoleOf(vm.id).tail()
  await settle(parts, vm, 'failed', { failure: failureOf(context, { reason, message, consoleLines }) })
}

/** Whatever state was on its way, the guest's own decides where it arrives. */
async function takeOver(parts: EngineParts, vm: VmRecord, qemu: QemuProcess): Promise<void> {
  const runtime = parts.runtimes.add(vm, qemu)
  // What an earlier daemon captured in the background comes to its end by itself, the guest running.
  void disableBackground(qemu).catch((error: unknown) =>
    parts.context.log.warn({ vm: vm.name, error: asRametError(error).message }, 'an old capture does not end'),
  )
  const runState = await qemu.runState()
  const end = endFromRunState(runState)
  if (end !== undefined) return settleEnded(parts, vm, runtime, end)
  if (vm.identity !== 'none') runtime.guest.connect()
  const staysPaused = vm.state === 'paused' || vm.state === 'pausing' || vm.capturedPaused === true
  if (vm.state === 'capturing' && !staysPaused) await letGo(parts, vm, runtime, runState)
  else if (runState === 'paused' && !staysPaused) await resumeGuest(qemu)
  const untold = vm.state === 'restoring' ? await wakeAdopted(parts, vm, runtime) : undefined
  // Only now: saving its devices took a stopped guest's disks out of service until it goes on.
  await parts.deltas.recover(vm.id)
  await mergeDisks(qemu, floorsOf(parts.context.vms.find(vm.id))).catch((error: unknown) =>
    // It runs over the longer chain; this is tried again in the background.
    parts.context.log.warn({ vm: vm.name, error: asRametError(error).message }, 'disks could not be merged yet'),
  )
  const stalled = (await qemu.runState()) === stalledState
  const paused = stalled || untold?.stands === true || (runState === 'paused' && staysPaused)
  const nowMs = parts.context.clock.nowMs()
  const why = stalled ? { stateReason: stallReason(vm) } : {}
  const atRest = { ...ttlPaused(vm, nowMs), ...untold?.changes, ...why, capturedPaused: undefined }
  if (paused && vm.state !== 'paused') await settle(parts, vm, 'paused', atRest, true)
  if (!paused && vm.state !== 'running')
    await settle(parts, vm, 'running', { ...ttlResumed(vm, nowMs), ...awakened, ...untold?.changes }, true)
  handOver(parts.context, vm.id)
  await releaseSpent(parts.context, vm.id)
  await parts.ports.publishAll(parts.context.vms.find(vm.id), 'again')
}

/** A capture was cut short: links up, guest on, workload thawed. */
async function letGo(parts: EngineParts, vm: VmRecord, runtime: VmRuntime, runState: string): Promise<void> {
  if (runState !== 'running') await resumeGuest(runtime.qemu)
  if (linksUp(vm)) await setLinks(runtime.qemu, vm.nics, true)
  if (vm.identity === 'none') return
  try {
    await thaw(await runtime.guest.session())
  } catch (error) {
    // It may have been captured without its agent, because that is silent: no reason to end it.
    parts.context.log.error({ vm: vm.name, error: asRametError(error).message }, 'its workload could not be thawed')
  }
}

async function settleEnded(parts: EngineParts, vm: VmRecord, runtime: VmRuntime, end: GuestEnd): Promise<void> {
  const { context } = parts
  await runtime.console.drain(runtime.qemu)
  await parts.runtimes.drop(vm.id)
  await runtime.qemu.quit()
  await endAllOf(context, vm.id)
  if (end.kind === 'shutdown') return settle(parts, vm, 'stopped', { stateReason: 'the guest shut down' })
  const consoleLines = await runtime.console.tail()
  await settle(parts, vm, 'failed', { failure: failureOf(context, { ...describeEnd(context, vm, end), consoleLines }) })
}

/** Recovery may take any step, also those that no action takes: the record is made true. */
async function settle(
  parts: EngineParts,
  vm: VmRecord,
  state: VmRecord['state'],
  changes: Changes<VmRecord>,
  alive = false,
): Promise<void> {
  const gone: Changes<VmRecord> = {
    process: undefined,
    helpers: [],
    baseId: undefined,
    restore: undefined,
    expiresAtMs: undefined,
    ...(state === 'suspended' ? {} : awakened),
  }
  const settled = await parts.context.vms.update(vm.id, { ...(alive ? {} : gone), ...changes, state })
  announceState(parts.context, settled, vm.state)
}
