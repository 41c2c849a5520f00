import type { LiveCaptureOptions } from '../../fork/capture-live.ts'
import { asRametError, RametError } from '../../shared/errors.ts'
import type { EngineContext } from '../context.ts'
import type { EngineParts } from '../parts.ts'
import type { VmRecord } from '../records.ts'
import { ttlPaused } from '../vm/ttl-changes.ts'
import { resumeVm } from '../vm/vm-actions.ts'
import { transition } from '../vm-states.ts'

// The states of a vm from the beginning of its capture to its end, whatever it is captured for. Under the vm's lock.

/** What becomes of the vm that is captured. */
export type Fate = LiveCaptureOptions['parent']

/** @param verb for the message of a refusal: “fork” */
export async function beginCapture(context: EngineContext, vm: VmRecord, verb: string): Promise<void> {
  if (vm.state !== 'paused') await transition(context, vm.id, 'capture', {}, verb)
  // Written down, so that a daemon that comes after this one leaves it standing too.
  else await transition(context, vm.id, 'capture-paused', { capturedPaused: true }, verb)
}

/** It has been captured, and stands from now on. @param isFrozen its workload too */
export async function stayPaused(context: EngineContext, vmId: string, isFrozen: boolean): Promise<void> {
  await transition(context, vmId, 'paused', (record) => ({
    ...ttlPaused(record, context.clock.nowMs()),
    ...(isFrozen ? { frozenWhilePaused: true as const } : {}),
  }))
}

/** It stood before its capture, and does so again. */
export async function standAsBefore(context: EngineContext, vmId: string): Promise<void> {
  await transition(context, vmId, 'paused', { capturedPaused: undefined })
}

/** Nothing came of the capture: the vm goes on, if it did before. Never throws. @param isFrozen its workload may be */
export async function letGoOn(parts: EngineParts, vm: VmRecord, fate: Fate, isFrozen: boolean): Promise<void> {
  const { context } = parts
  try {
    const state = context.vms.get(vm.id)?.state
    if (state === 'capturing') {
      if (fate === 'was-paused') return await standAsBefore(context, vm.id)
      // One that has ended meanwhile counts as running until somebody settles that.
      if (!(await stands(parts, vm.id))) return void (await transition(context, vm.id, 'started'))
      await stayPaused(context, vm.id, isFrozen)
    } else if (state !== 'paused' || fate !== 'stays-paused') return
    await resumeVm(parts, vm.id)
  } catch (error) {
    context.log.error({ vm: vm.name, error: asRametError(error).message }, 'a vm could not go on after its capture')
  }
}

/** Whether its guest is there, and does not execute. */
async function stands({ runtimes }: EngineParts, vmId: string): Promise<boolean> {
  const runState = await runtimes
    .get(vmId)
    ?.qemu.runState()
    .catch(() => undefined)
  return runState !== undefined && runState !== 'running'
}

/** Whichever step noticed it first says something else. @param done as in “web could not be forked” */
export function endedMeanwhile(vm: VmRecord, done: string, cause: unknown): RametError {
  return new RametError('VMM_FAILED', {
    message: `${vm.name} could not be ${done}: its QEMU ended meanwhile`,
    cause,
    remediation: `Start it again: \`ramet start ${vm.name}\`. Its disks are as the guest last flushed them.`,
  })
}
