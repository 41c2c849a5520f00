import { rm } from 'node:fs/promises'
import { asRametError } from '../../shared/errors.ts'
import type { EngineContext } from '../context.ts'
import type { GoingBackRecord, SuspendedRecord, VmRecord } from '../records.ts'
import type { Changes } from '../registry.ts'
import { announceState } from '../vm-states.ts'
import { dropKeptDisks, keepDisks, putBackDisks } from './kept-disks.ts'
import { removeWaitingDisks } from './place-disks.ts'

/**
 * What a vm is that is about to go back to a snapshot. It stays in its record until its guest runs at that moment; until
 * then whoever finds it, also after a crash, makes the vm that again.
 */
export function pastOf(vm: VmRecord): GoingBackRecord {
  const { state, agentProtocol, disks, suspended } = vm
  const { failure, frozenAtFork, identity, idlePaused, stateReason } = vm
  const present = Object.entries({ agentProtocol, suspended, failure, frozenAtFork, identity, idlePaused, stateReason })
  return { state, disks, ...Object.fromEntries(present.filter(([, value]) => value !== undefined)) }
}

/**
 * Turns a vm to the moment of a snapshot, whose disks wait beside its own. These are kept, and so is its checkpoint.
 *
 * @param guest what of the vm was another then
 */
export async function turnBack(
  context: EngineContext,
  id: string,
  guest: Changes<VmRecord>,
  suspended: SuspendedRecord,
): Promise<VmRecord> {
  await keepDisks(context.paths.vm(id))
  return context.vms.update(id, ({ goingBack }) => ({
    ...guest,
    ...{ failure: undefined, idlePaused: undefined },
    suspended: { ...suspended, placing: true },
    goingBack: goingBack && { ...goingBack, kept: true },
  }))
}

/**
 * Makes a vm again what it was before it began to go back; nothing of it runs. Can be repeated after a crash.
 *
 * @returns false when it was not going back: nothing has changed
 */
export async function undoGoingBack(context: EngineContext, id: string): Promise<boolean> {
  const vm = context.vms.find(id)
  const { goingBack } = vm
  if (goingBack === undefined) return false
  const dir = context.paths.vm(id)
  const { kept, ...before } = goingBack
  if (kept) await putBackDisks(dir)
  await removeWaitingDisks(context, vm)
  const undone = await context.vms.update(id, {
    ...absent,
    ...before,
    goingBack: undefined,
    ...{ process: undefined, helpers: [], baseId: undefined, restore: undefined },
  })
  announceState(context, undone, vm.state)
  await dropKeptDisks(dir)
  return true
}

/** The same for whoever has an error to tell already. Never throws: what is left is undone by the next daemon. */
export async function stayAsItWas(context: EngineContext, id: string): Promise<void> {
  try {
    await undoGoingBack(context, id)
  } catch (error) {
    context.log.error({ vmId: id, error: asRametError(error).message }, 'a vm that was not restored is left restoring')
  }
}

/** Gives up what a vm had before it went back, of one whose guest runs, or that was undone. Can be repeated after a crash. */
export async function forgetPast(context: EngineContext, id: string): Promise<void> {
  const vm = context.vms.get(id)
  if (vm === undefined || vm.goingBack !== undefined) return
  await dropKeptDisks(context.paths.vm(id))
  // Its own checkpoint, if it had one: it is at the snapshot's now.
  if (vm.suspended?.snapshotId !== undefined) await rm(context.paths.suspended(id), { recursive: true, force: true })
}

/** What it had not, it must not have again. */
const absent: Changes<VmRecord> = {
  agentProtocol: undefined,
  suspended: undefined,
  failure: undefined,
  frozenAtFork: undefined,
  identity: undefined,
  idlePaused: undefined,
  stateReason: undefined,
}
