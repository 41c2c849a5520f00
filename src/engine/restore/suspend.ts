import { join } from 'node:path'
import { saveCheckpoint } from '../../checkpoint/save/save.ts'
import { captureLive } from '../../fork/capture-live.ts'
import { isRunning } from '../../host/process-identity.ts'
import { pageBytes } from '../../memory/base.ts'
import { asRametError, isRametError, RametError } from '../../shared/errors.ts'
import { faultPoint } from '../../shared/fault.ts'
import { referenceTo, templateOf } from '../disk/template-base.ts'
import { beginCapture, endedMeanwhile, type Fate, letGoOn } from '../fork/capture-states.ts'
import { type Quiesced, quiesce } from '../fork/quiesce.ts'
import type { OperationHandle } from '../operations.ts'
import type { EngineParts } from '../parts.ts'
import type { CheckpointRecord, VmRecord } from '../records.ts'
import type { Changes } from '../registry.ts'
import { illegal } from '../state.ts'
import { cpuFeaturesOf } from '../vm/cpu-features.ts'
import { ttlPaused } from '../vm/ttl-changes.ts'
import { type PauseReason, takeDown } from '../vm/vm-actions.ts'
import type { VmRuntime } from '../vm/vm-runtime.ts'
import { transition } from '../vm-states.ts'
import { checkpointFile } from './restore-request.ts'
import { makeSuspendedDirectory, releaseCheckpoint } from './suspended-files.ts'

/**
 * Pauses a vm to disk: its memory and devices are written to a file, and its QEMU ends. Its disks stay as they are.
 * Only when the file is safe and written down does anything of the vm end; until then it goes on as if nothing had
 * happened. Its published ports stay open. Under the vm's lock.
 *
 * @param because what else the record says of it from its end on
 * @throws RametError `ILLEGAL_STATE`, `GUEST_UNREACHABLE`, `GUEST_REFUSED` (a hook failed), `NO_CAPACITY`, `NO_SPACE`,
 *   `CANCELLED`; the vm is in the state that it was in then
 */
export async function suspendVm(
  parts: EngineParts,
  id: string,
  handle: OperationHandle,
  because: PauseReason = {},
): Promise<VmRecord> {
  const { context } = parts
  const vm = context.vms.find(id)
  const runtime = parts.runtimes.get(id)
  if (runtime === undefined) throw illegal(vm.name, vm.state, 'pause')
  await parts.restores.complete(id, handle)
  const fate = vm.state === 'paused' ? 'was-paused' : 'stays-paused'
  await beginCapture(context, vm, 'pause')
  let quiesced: Quiesced | undefined
  try {
    quiesced = await quiesceFor(vm, runtime, handle)
    const checkpoint = await save(parts, { vm, runtime, quiesced, fate, handle })
    faultPoint('suspend.saved')
    const { isFrozen } = quiesced
    await transition(context, id, 'suspended', (record) => ({
      ...suspension(record, checkpoint, isFrozen, context.clock.nowMs()),
      ...because,
    }))
  } catch (error) {
    await goOn(parts, vm, fate, quiesced?.isFrozen === true)
    throw isRunning(runtime.qemu.identity) ? error : endedMeanwhile(vm, 'paused to disk', error)
  }
  faultPoint('suspend.recorded')
  await takeDown(parts, id, runtime, 'quit', 'keep')
  return context.vms.update(id, { process: undefined, helpers: [], baseId: undefined })
}

/** One whose agent is not there, or does not take part, is paused in memory only: its clock could not be set right. */
async function quiesceFor(vm: VmRecord, runtime: VmRuntime, handle: OperationHandle): Promise<Quiesced> {
  handle.progress({ stage: 'quiescing', message: `${vm.name} is captured` })
  try {
    const manner = { agent: vm.identity !== 'none', freeze: true }
    return await quiesce(vm, runtime, { manner, purpose: 'snapshot' }, handle)
  } catch (error) {
    if (!isRametError(error, 'GUEST_UNREACHABLE')) throw error
    throw new RametError('GUEST_UNREACHABLE', {
      message: `cannot pause ${vm.name} to disk: its agent does not answer, and it runs on`,
      cause: error,
      remediation: `Look at \`ramet logs ${vm.name}\`; or pause it in memory first, which needs no agent: \`ramet pause ${vm.name}\`, then \`ramet pause --to-disk ${vm.name}\`.`,
    })
  }
}

interface Saving {
  vm: VmRecord
  runtime: VmRuntime
  quiesced: Quiesced
  fate: Fate
  handle: OperationHandle
}

async function save(parts: EngineParts, saving: Saving): Promise<CheckpointRecord> {
  const { context } = parts
  const { vm, runtime, handle } = saving
  const base = await parts.bases.ofVm(vm)
  // What is in the base of a template, which stays for as long as this vm, need not be copied.
  const template = base && templateOf(context, base)
  const reference = template && (await referenceTo(context, template))
  const cpuFeatures = await cpuFeaturesOf(parts, vm)
  handle.progress({ stage: 'capturing', message: `${vm.name} is captured` })
  const capture = await captureLive({
    qemu: runtime.qemu,
    workload: saving.quiesced.workload,
    memoryBytes: vm.machine.memoryBytes,
    // Nothing else writes to its disks before it goes on from here.
    diskLevels: [],
    ...(base === undefined ? {} : { base }),
    parent: saving.fate,
    signal: handle.signal,
  })
  faultPoint('suspend.captured')
  const dir = await makeSuspendedDirectory(context, vm.id)
  const captured = {
    machine: vm.machine,
    capturedAt: new Date(context.clock.nowMs()),
    deviceState: capture.deviceState,
    romPages: capture.romPages,
    memory: { kind: 'delta' as const, delta: capture.delta, base },
    reference,
    qemuVersion: context.host.qemuVersion,
    cpuFeatures,
  }
  const { digest, fileBytes, counts } = await saveCheckpoint(join(dir, checkpointFile), captured, {
    signal: handle.signal,
    onProgress: (stage, doneBytes, totalBytes) =>
      handle.progress({ stage, doneBytes, totalBytes, message: `${vm.name} stands, its memory is being stored` }),
  })
  handle.signal.throwIfAborted()
  const guestBytes = (counts.pages - counts.zero) * pageBytes
  const baseOf = template === undefined || counts.base === 0 ? {} : { baseOf: template.id }
  return { digest, fileBytes, ...baseOf, guestBytes }
}

function suspension(
  record: VmRecord,
  checkpoint: CheckpointRecord,
  isFrozen: boolean,
  atMs: number,
): Changes<VmRecord> {
  return {
    ...ttlPaused(record, atMs),
    suspended: { ...checkpoint, atMs, ...(isFrozen ? { frozen: true as const } : {}) },
    capturedPaused: undefined,
    frozenWhilePaused: undefined,
    untold: undefined,
    restore: undefined,
    stateReason: undefined,
  }
}

/** Nothing came of it: the vm is again what it was. Never throws. */
async function goOn(parts: EngineParts, vm: VmRecord, fate: Fate, isFrozen: boolean): Promise<void> {
  const { context } = parts
  await letGoOn(parts, vm, fate, isFrozen)
  await releaseCheckpoint(context, vm.id).catch((error: unknown) =>
    context.log.error({ vm: vm.name, error: asRametError(error).message }, 'a checkpoint of no use was not removed'),
  )
}
