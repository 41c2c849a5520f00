import { randomUUID } from 'node:crypto'
import { thaw } from '../../agent/freeze.ts'
import { restoreSchedule } from '../../agent/opening.ts'
import type { AgentSession } from '../../agent/session.ts'
import type { Timings } from '../../api/timings.ts'
import { setLinks } from '../../fork/capture.ts'
import { isRunning } from '../../host/process-identity.ts'
import { pauseGuest, resumeGuest } from '../../qemu/incoming.ts'
import { asRametError } from '../../shared/errors.ts'
import { faultPoint } from '../../shared/fault.ts'
import { limits } from '../../shared/limits.ts'
import type { EngineContext } from '../context.ts'
import { linksUp } from '../guest/agentless.ts'
import { identify } from '../guest/identify.ts'
import type { StartNeed } from '../host/capacity.ts'
import type { OperationHandle } from '../operations.ts'
import type { EngineParts } from '../parts.ts'
import type { VmRecord } from '../records.ts'
import { handOver } from '../recovery/handed-over.ts'
import type { Changes } from '../registry.ts'
import { describeEnd, untilEnd } from '../vm/guest-end.ts'
import { confine, lazyNeed } from '../vm/limits-of-vm.ts'
import { endAllOf } from '../vm/release-vm.ts'
import { ttlPaused, ttlResumed } from '../vm/ttl-changes.ts'
import { takeDown } from '../vm/vm-actions.ts'
import type { VmRuntime } from '../vm/vm-runtime.ts'
import { failureOf, transition } from '../vm-states.ts'
import { bringBack, type Manner } from './bring-back.ts'
import { forgetPast, stayAsItWas } from './going-back.ts'
import { placeDisks } from './place-disks.ts'
import { releaseCheckpoint, releaseSpent } from './suspended-files.ts'

/**
 * Lets a vm go on that was paused to disk. It runs before its memory has come back; the file is removed when it has.
 * Under the vm's lock.
 *
 * @throws RametError `ILLEGAL_STATE`, `NO_CAPACITY`, `CHECKPOINT_DAMAGED`, `BASE_DAMAGED`, `VMM_FAILED`, `CANCELLED`: it is
 *   still suspended then. `GUEST_UNREACHABLE`, `IDENTITY_UNPROVED`: it is paused, and can be resumed again
 */
export async function resumeSuspended(parts: EngineParts, id: string, handle: OperationHandle): Promise<VmRecord> {
  const changes = { generationId: randomUUID(), restore: undefined }
  return comeBack(parts, await transition(parts.context, id, 'restore', changes, 'resume'), handle)
}

/**
 * As `resumeSuspended`, of a vm that is in state `restoring` already.
 *
 * @throws RametError as `resumeSuspended`
 */
export async function comeBack(
  parts: EngineParts,
  vm: VmRecord,
  handle: OperationHandle,
  manner: Manner = {},
): Promise<VmRecord> {
  const { id } = vm
  const startMs = performance.now()
  let restored: Restored
  try {
    restored = await restore(parts, vm, manner, handle)
  } catch (error) {
    await giveUp(parts, vm)
    throw error
  }
  const { timings } = restored
  try {
    await letGo(parts, restored)
    timings.runningMs = performance.now() - startMs
    const changes = await wake(parts, restored, handle)
    timings.readyMs = performance.now() - startMs
    return await settle(parts, id, { ...changes, timings: { ...timings, totalMs: timings.readyMs } })
  } catch (error) {
    await standStill(parts, restored)
    throw error
  }
}

interface Restored {
  vm: VmRecord
  runtime: VmRuntime
  timings: Timings
}

/** As far as the guest being there, standing; its links are down and its workload, as a rule, frozen. */
async function restore(parts: EngineParts, vm: VmRecord, manner: Manner, handle: OperationHandle): Promise<Restored> {
  const { context } = parts
  await placeDisks(context, vm)
  using _ = await parts.admission.admit(needOf(context, vm), handle.signal)
  handle.progress({ stage: 'restoring', message: `${vm.name} comes back from disk` })
  await parts.settling.settleStopped(vm, handle.signal)
  const manifest = await parts.images.manifest(vm.imageId)
  await parts.fingerprints.check(vm)
  await parts.fingerprints.checkDeltas(vm)
  await using brought = await bringBack(parts, { vm, manifest, manner }, handle)
  const { baseId, launched, loadMs, restore } = brought
  const { qemu, helpers } = launched
  const runtime = parts.runtimes.add(vm, qemu)
  await context.vms.update(vm.id, { process: qemu.identity, helpers, restore, baseId })
  await parts.restores.recorded(vm.id)
  handOver(context, vm.id)
  faultPoint('resume.recorded')
  await confine(parts, vm, qemu.identity.pid)
  await setLinks(qemu, vm.nics, false)
  await runtime.guest.connectAhead()
  handle.signal.throwIfAborted()
  return { vm, runtime, timings: { diskMs: launched.diskMs, spawnMs: launched.spawnMs, loadMs } }
}

function needOf({ settings }: EngineContext, { machine, name, suspended }: VmRecord): StartNeed {
  return lazyNeed(`resuming ${name}`, suspended?.guestBytes ?? machine.memoryBytes, settings.restoreFill)
}

/** What the guest does from here on cannot be undone: its disks go on from there, and its old memory does not fit them. */
async function letGo({ context }: EngineParts, { vm, runtime }: Restored): Promise<void> {
  const resumedAtMs = context.clock.nowMs()
  await context.vms.update(vm.id, ({ suspended }) =>
    suspended ? { suspended: { ...suspended, resumedAtMs }, goingBack: undefined } : {},
  )
  faultPoint('resume.going')
  try {
    await resumeGuest(runtime.qemu)
    faultPoint('resume.running')
  } finally {
    // Nothing depends on it: the next daemon does the same.
    await forgetPast(context, vm.id).catch((error: unknown) =>
      context.log.warn(
        { vm: vm.name, error: asRametError(error).message },
        'disks from before a restore were not removed',
      ),
    )
  }
}

/** Clock, randomness and links of a guest that has stood for who knows how long; then its workload. */
async function wake(
  parts: EngineParts,
  { vm, runtime, timings }: Restored,
  handle: OperationHandle,
): Promise<Changes<VmRecord>> {
  const { context } = parts
  if (vm.identity === 'none') return {}
  const ended = untilEnd(context, vm, runtime)
  ended.catch(() => {})
  const linkStartMs = performance.now()
  const opened = runtime.guest.open(restoreSchedule, limits.linkConnectTimeoutMs, handle.signal)
  const session = await Promise.race([opened, ended])
  const identityStartMs = performance.now()
  timings.linkMs = identityStartMs - linkStartMs
  await Promise.race([identify(context, parts.identity, vm, session, handle.signal), ended])
  timings.identityMs = performance.now() - identityStartMs
  parts.restores.mark(vm.id, 'ready')
  faultPoint('resume.identified')
  await parts.ports.publishAll(vm, 'again')
  await Promise.race([letWork({ vm, runtime }, session), ended])
  runtime.guest.publish(session)
  return { agentProtocol: session.version }
}

async function letWork({ vm, runtime }: Pick<Restored, 'vm' | 'runtime'>, session: AgentSession): Promise<void> {
  if (vm.suspended?.frozen) await thaw(session)
  if (linksUp(vm)) await setLinks(runtime.qemu, vm.nics, true)
}

/**
 * The same for a vm whose daemon died while it came back: its guest runs, and what it has been told is not known.
 *
 * @returns undefined for one that has been told
 */
export async function wakeAdopted(parts: EngineParts, vm: VmRecord, runtime: VmRuntime): Promise<Untold | undefined> {
  const { context } = parts
  if (vm.identity === 'none') return undefined
  try {
    const session = await runtime.guest.session()
    await identify(context, parts.identity, vm, session)
    parts.restores.mark(vm.id, 'ready')
    await letWork({ vm, runtime }, session)
    return undefined
  } catch (error) {
    context.log.error({ vm: vm.name, error: asRametError(error).message }, 'a vm that came back could not be told so')
    return { stands: await stand(runtime), changes: untold(vm) }
  }
}

/** A guest that has run, but could not be told what it must know. */
interface Untold {
  stands: boolean
  /** what the record of its vm says of that, so that the next resumption tells it */
  changes: Changes<VmRecord>
}

/** @returns false for one that cannot even be paused: it is no worse off running */
function stand(runtime: VmRuntime): Promise<boolean> {
  return pauseGuest(runtime.qemu).then(
    () => true,
    () => false,
  )
}

function untold({ identity, suspended }: VmRecord): Changes<VmRecord> {
  return {
    frozenWhilePaused: suspended?.frozen ? true : undefined,
    untold: identity === 'none' ? undefined : true,
    stateReason: 'it came back from disk, but its agent did not answer',
  }
}

async function settle(parts: EngineParts, id: string, changes: Changes<VmRecord>): Promise<VmRecord> {
  const { context } = parts
  await transition(context, id, 'started', (record) => ({
    ...ttlResumed(record, context.clock.nowMs()),
    // Left from before it went back to an earlier moment.
    ...{ frozenWhilePaused: undefined, untold: undefined },
    ...changes,
    failure: undefined,
    stateReason: undefined,
  }))
  parts.ttl.reschedule()
  parts.settling.schedule()
  // Where all of it was loaded before, or has come meanwhile.
  await releaseSpent(context, id)
  return context.vms.find(id)
}

/** Its guest has not run: it is suspended as before, or whatever it was that was to go back to a snapshot. */
async function giveUp(parts: EngineParts, vm: VmRecord): Promise<void> {
  const { context } = parts
  const runtime = parts.runtimes.get(vm.id)
  await parts.runtimes.drop(vm.id, 'keep')
  await runtime?.qemu.kill()
  await endAllOf(context, vm.id)
  if (context.vms.find(vm.id).goingBack !== undefined) await stayAsItWas(context, vm.id)
  else
    await transition(context, vm.id, 'suspended', {
      ...{ process: undefined, helpers: [], restore: undefined },
      baseId: undefined,
    })
  await parts.bases.sweep()
}

/** Its guest has run, but could not be told what it must know: it stands, in memory, until somebody looks at it. */
async function standStill(parts: EngineParts, { vm, runtime }: Restored): Promise<void> {
  const { context } = parts
  try {
    if (context.vms.get(vm.id)?.state !== 'restoring') return
    const stands = await stand(runtime)
    if (!isRunning(runtime.qemu.identity)) return await settleEnded(parts, vm, runtime)
    if (vm.identity !== 'none') runtime.guest.connect()
    const nowMs = context.clock.nowMs()
    await transition(context, vm.id, stands ? 'paused' : 'started', (record) => ({
      ...(stands ? ttlPaused(record, nowMs) : ttlResumed(record, nowMs)),
      ...untold(vm),
    }))
    await releaseSpent(context, vm.id)
  } catch (error) {
    context.log.error({ vm: vm.name, error: asRametError(error).message }, 'a vm that came back is left restoring')
  }
}

async function settleEnded(parts: EngineParts, vm: VmRecord, runtime: VmRuntime): Promise<void> {
  const { context } = parts
  const { reason, message } = describeEnd(context, vm, await runtime.ended)
  const consoleLines = await runtime.console.tail()
  await takeDown(parts, vm.id, runtime, 'kill')
  await transition(context, vm.id, 'failed', {
    process: undefined,
    helpers: [],
    restore: undefined,
    stoppedAtMs: context.clock.nowMs(),
    failure: failureOf(context, { reason, message, consoleLines }),
  })
  await releaseCheckpoint(context, vm.id)
}
