import { randomUUID } from 'node:crypto'
import { chown, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { SnapshotRestore, SnapshotRestored } from '../../api/snapshot.ts'
import { cloneDisk } from '../../disk/clone.ts'
import { diskFile } from '../../fork/disk-file.ts'
import { assert } from '../../shared/assert.ts'
import { RametError } from '../../shared/errors.ts'
import { faultPoint } from '../../shared/fault.ts'
import type { EngineContext } from '../context.ts'
import type { ForkParts } from '../fork/fork-parts.ts'
import type { OperationHandle } from '../operations.ts'
import type { SnapshotRecord, SuspendedRecord, VmRecord } from '../records.ts'
import type { Changes } from '../registry.ts'
import type { Manner } from '../restore/bring-back.ts'
import { pastOf, stayAsItWas, turnBack } from '../restore/going-back.ts'
import { waitingDiskFile } from '../restore/place-disks.ts'
import { comeBack } from '../restore/resume-suspended.ts'
import { liveStates, next } from '../state.ts'
import { lazyNeed } from '../vm/limits-of-vm.ts'
import { removeDirectory } from '../vm/release-vm.ts'
import { discardVm } from '../vm/vm-actions.ts'
import { userOf } from '../vm/vm-plan.ts'
import { vmView } from '../vm/vm-view.ts'
import { transition } from '../vm-states.ts'
import type { Restorable } from './restorable.ts'
import { guestBytesOf, snapshotDisks } from './snapshot-sources.ts'

/**
 * Refuses at once what cannot be.
 *
 * @throws RametError `ILLEGAL_STATE`, `NAME_TAKEN`, `INVALID_ARGUMENT`
 */
export function checkSame({ vms }: EngineContext, { name, vm }: SnapshotRecord, request: SnapshotRestore): void {
  const options = [
    ...(['files', 'ports'] as const).filter((option) => request[option].length > 0),
    ...(['labels', 'environment', 'limits'] as const).filter((option) => Object.keys(request[option]).length > 0),
    ...(['ttlSeconds', 'idle', 'namePrefix'] as const).filter((option) => request[option] !== undefined),
    ...(request.link === 'up' ? [] : ['link']),
    ...(request.mode === 'shared' ? ['mode shared'] : []),
  ]
  if (options.length > 0)
    throw new RametError('INVALID_ARGUMENT', {
      message: `${options.join(', ')} cannot be chosen where ${vm.name} itself goes back to snapshot ${name}`,
      remediation: 'Leave it out, or restore a new vm: `--as NAME`.',
      details: { options },
    })
  const present = vms.get(vm.id)
  if (present === undefined && vms.nameTaken(vm.name))
    throw new RametError('NAME_TAKEN', {
      message: `${vm.name}, which snapshot ${name} is of, is gone, and another vm has its name`,
      remediation: `Restore it under another one: \`ramet snapshot restore ${name} --as NAME\`.`,
    })
  if (present !== undefined) checkAtRest(present, name)
}

function checkAtRest(vm: VmRecord, snapshot: string): void {
  if (keepsItsMemory(vm))
    throw new RametError('ILLEGAL_STATE', {
      message: `cannot restore ${vm.name}: it is suspended, and its memory on disk would be lost`,
      remediation: `\`ramet kill ${vm.name}\` gives up that memory; or restore a new vm beside it: \`ramet snapshot restore ${snapshot} --as NAME\`.`,
      details: { state: vm.state, action: 'restore' },
    })
  if (next(vm.state, 'restore') !== undefined) return
  const remedy = liveStates.has(vm.state)
    ? `Stop it first, \`ramet stop ${vm.name}\`, which`
    : 'Wait until that is over, which'
  throw new RametError('ILLEGAL_STATE', {
    message: `cannot restore ${vm.name}: it is ${vm.state}`,
    remediation: `${remedy} loses what it has written since; or restore a new vm beside it: \`ramet snapshot restore ${snapshot} --as NAME\`.`,
    details: { state: vm.state, action: 'restore' },
  })
}

/** It was paused to disk, and can go on from there; not so where an earlier restore left it at a snapshot. */
function keepsItsMemory({ state, suspended }: VmRecord): boolean {
  return state === 'suspended' && suspended?.snapshotId === undefined && suspended?.resumedAtMs === undefined
}

interface Run {
  requestedAtMs: number
  handle: OperationHandle
}

/**
 * The vm that a snapshot is of goes back to that moment: disks and memory, under the name that it has by now. One that is
 * gone is made again. Until its guest runs at that moment all that it had is kept, and when it cannot, the vm is what it was.
 *
 * @throws RametError `ILLEGAL_STATE`, `NAME_TAKEN`, `NO_SPACE`, `NO_CAPACITY`, as `comeBack`
 */
export async function restoreSame(
  parts: ForkParts,
  restorable: Restorable,
  request: SnapshotRestore,
  { requestedAtMs, handle }: Run,
): Promise<SnapshotRestored> {
  const { context } = parts
  const { snapshot } = restorable
  const { id } = snapshot.vm
  const warnings: string[] = []
  const mode = request.mode === 'shared' ? undefined : request.mode
  const warn = (why: string) => void warnings.push(why)
  const manner: Manner = { policy: request.policy, warn, ...(mode === undefined ? {} : { mode }) }
  const vm = await parts.runtimes.exclusively(id, async () => {
    handle.signal.throwIfAborted()
    checkSame(context, snapshot, request)
    const what = `restoring ${snapshot.vm.name}`
    parts.admission.check(lazyNeed(what, guestBytesOf(snapshot), context.settings.restoreFill))
    if (context.vms.get(id) !== undefined)
      return comeBack(parts, await goBack(parts, restorable, handle), handle, manner)
    const remade = await makeAgain(parts, restorable, handle)
    return comeBack(parts, remade, handle, manner).catch(async (error: unknown) => {
      // Nothing is left of what was not there before, but a guest that has run.
      if (context.vms.get(id)?.state === 'suspended') {
        // Written down, so that what is left after a crash is never taken for a vm that can be resumed.
        await transition(context, id, 'remove')
        await discardVm(parts, id)
      }
      throw error
    })
  })
  const timings = { ...vm.timings, totalMs: performance.now() - requestedAtMs }
  return {
    results: [{ ok: true, vm: vmView(vm), timings: vm.timings ?? {} }],
    mode: vm.restore === undefined ? 'eager' : 'lazy',
    timings,
    ...(warnings.length === 0 ? {} : { warnings }),
  }
}

/** What the vm is suspended with: the snapshot's file instead of one of its own. */
function suspendedAt({ snapshot, checkpoint }: Restorable): SuspendedRecord {
  const frozen = snapshot.frozen ? { frozen: true as const } : {}
  const guestBytes = guestBytesOf(snapshot)
  return { ...checkpoint, ...frozen, guestBytes, atMs: snapshot.createdAtMs, snapshotId: snapshot.id }
}

/** What of the vm was another at that moment; its settings stay as they are now. */
function guestOf({ agentProtocol, disks, frozenAtFork, identity }: VmRecord): Changes<VmRecord> {
  return { agentProtocol, disks, frozenAtFork, identity }
}

async function goBack(parts: ForkParts, restorable: Restorable, handle: OperationHandle): Promise<VmRecord> {
  const { context } = parts
  const { snapshot } = restorable
  const before = context.vms.find(snapshot.vm.id)
  const begun: Changes<VmRecord> = { generationId: randomUUID(), restore: undefined, stateReason: undefined }
  const vm = await transition(context, before.id, 'restore', { ...begun, goingBack: pastOf(before) })
  faultPoint('restore.begun')
  try {
    await parts.fingerprints.check(snapshot.vm)
    await makeDirectory(context, vm)
    await copyDisks(parts, restorable, { vm, fileOf: waitingDiskFile, handle })
    faultPoint('restore.disks')
    const back = await turnBack(context, vm.id, guestOf(snapshot.vm), suspendedAt(restorable))
    faultPoint('restore.back')
    return back
  } catch (error) {
    await stayAsItWas(context, vm.id)
    throw error
  }
}

async function makeAgain(parts: ForkParts, restorable: Restorable, handle: OperationHandle): Promise<VmRecord> {
  const { context } = parts
  const { vm: saved } = restorable.snapshot
  const seat = context.seats.claim(saved.seat) ? saved.seat : context.seats.take()
  const { id, ttlMs } = saved
  const vm: VmRecord = {
    ...saved,
    ...{ state: 'restoring', seat, generationId: randomUUID(), restartCount: 0 },
    ...(ttlMs === undefined ? {} : { ttlLeftMs: ttlMs }),
    suspended: suspendedAt(restorable),
  }
  try {
    context.vms.checkFree(vm.name)
    await parts.fingerprints.check(saved)
    context.journal.intend([{ operation: handle.id, owner: id, kind: 'directory', ident: { name: id } }])
    await makeDirectory(context, vm)
    await copyDisks(parts, restorable, { vm, fileOf: diskFile, handle })
    faultPoint('restore.disks')
    await context.vms.create(vm)
  } catch (error) {
    await removeDirectory(context, id)
    context.seats.free(seat)
    throw error
  }
  // From here on the record owns the directory.
  context.journal.release(context.journal.openOf(id).map((entry) => entry.id))
  context.events.emit({ type: 'vm.created', resource: { kind: 'vm', id, name: vm.name } })
  faultPoint('restore.back')
  return vm
}

async function makeDirectory(context: EngineContext, { id, seat }: VmRecord): Promise<void> {
  const dir = context.paths.vm(id)
  const user = userOf(context.host, seat)
  await mkdir(dir, { recursive: true, mode: 0o700 })
  if (user !== undefined) await chown(dir, user.uid, user.gid)
}

async function copyDisks(
  { context }: ForkParts,
  { snapshot }: Restorable,
  to: { vm: VmRecord; fileOf: (index: number) => string; handle: OperationHandle },
): Promise<void> {
  const { fileOf, handle, vm } = to
  const owner = userOf(context.host, vm.seat)
  for (const [index, { seed }] of (await snapshotDisks(context, snapshot, 1)).entries()) {
    assert(seed.kind === 'copy', 'the disks of a snapshot are copied')
    const message = `copying disk ${index + 1} of ${snapshot.vm.disks.length}`
    await cloneDisk({
      ...{ ...seed, to: join(context.paths.vm(vm.id), fileOf(index)), owner, signal: handle.signal },
      onProgress: (doneBytes, totalBytes) => handle.progress({ stage: 'disks', doneBytes, totalBytes, message }),
    })
  }
}
