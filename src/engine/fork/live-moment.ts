import type { ForkRequest } from '../../api/fork.ts'
import type { Timings } from '../../api/timings.ts'
import { isRunning } from '../../host/process-identity.ts'
import type { OpenBase } from '../../memory/base.ts'
import { Revert } from '../../shared/revert.ts'
import type { OperationHandle } from '../operations.ts'
import type { VmRecord } from '../records.ts'
import { illegal } from '../state.ts'
import type { VmRuntime } from '../vm/vm-runtime.ts'
import { transition } from '../vm-states.ts'
import { type CapturePurpose, wordsOf } from './capture-purpose.ts'
import { beginCapture, endedMeanwhile, type Fate, letGoOn, standAsBefore, stayPaused } from './capture-states.ts'
import { type CaptureRequest, captureInItsWay, type RunningCapture } from './capture-way.ts'
import { type CaptureManner, checkCapturable } from './fork-conflicts.ts'
import type { ForkParts } from './fork-parts.ts'
import { type DisksWanted, type LiveDisks, prepareLiveDisks } from './live-disks.ts'
import { type Quiesced, quiesce } from './quiesce.ts'

/** How a vm is to be captured, and what for. */
export interface MomentOrder {
  purpose: CapturePurpose
  manner: CaptureManner & Pick<ForkRequest, 'capture' | 'maxPauseMs'>
  /** a vm that runs is left standing, at that very moment */
  staysPaused: boolean
  disks: DisksWanted
  memoryFor: CaptureRequest['memoryFor']
}

/** One moment of a vm, which is over for it: devices, memory and disks. */
export interface LiveMoment {
  capture: RunningCapture
  /** that its memory is over; the descriptor is not the caller's */
  base: OpenBase | undefined
  /** frozen at that moment */
  disks: LiveDisks
  quiesced: Quiesced
  timings: Timings
  /**
   * Lets go of the frozen disks; never throws.
   *
   * @param outcome a vm that was to stay paused goes on after all when nothing came of its capture
   */
  release(outcome: 'made' | 'failed'): Promise<void>
  /** Whichever step noticed first that its QEMU has ended says something else. */
  explain(error: unknown): unknown
}

/**
 * Captures a running or paused vm: one stop, and it runs on, unless it is to stay paused. Under the vm's lock, which is
 * held until `release`.
 *
 * @throws RametError `ILLEGAL_STATE`, `GUEST_UNREACHABLE`, `GUEST_REFUSED` (a hook failed), `NO_CAPACITY`,
 *   `NO_SPACE`, `PAUSE_TOO_LONG`, `CANCELLED`; the vm is in the state that it was in then
 */
export async function captureMoment(
  parts: ForkParts,
  vm: VmRecord,
  order: MomentOrder,
  handle: OperationHandle,
): Promise<LiveMoment> {
  const { purpose, manner } = order
  const { verb } = wordsOf[purpose]
  checkCapturable(vm, manner, purpose)
  const runtime = parts.runtimes.get(vm.id)
  if (runtime === undefined) throw illegal(vm.name, vm.state, verb)
  const fate = vm.state === 'paused' ? 'was-paused' : order.staysPaused ? 'stays-paused' : 'goes-on'
  const explain = (error: unknown) =>
    isRunning(runtime.qemu.identity) ? error : endedMeanwhile(vm, wordsOf[purpose].done, error)
  // Whatever has not come yet would be captured as zeros.
  await parts.restores.complete(vm.id, handle)
  await beginCapture(parts.context, vm, verb)
  try {
    const moment = await captureNow(parts, vm, { ...order, fate, runtime }, handle)
    const release = async (outcome: 'made' | 'failed') => {
      await moment.disks.release()
      if (outcome === 'failed') await letGoOn(parts, vm, fate, manner.agent && manner.freeze)
    }
    return { ...moment, timings: timingsOf(moment.capture, fate, moment.quiesced), release, explain }
  } catch (error) {
    await letGoOn(parts, vm, fate, manner.agent && manner.freeze)
    throw explain(error)
  }
}

interface Begun extends MomentOrder {
  fate: Fate
  runtime: VmRuntime
}

async function captureNow(
  parts: ForkParts,
  vm: VmRecord,
  order: Begun,
  handle: OperationHandle,
): Promise<Pick<LiveMoment, 'capture' | 'base' | 'disks' | 'quiesced'>> {
  const { runtime, fate, manner } = order
  await using revert = new Revert()
  handle.progress({ stage: 'quiescing', message: `${vm.name} is captured` })
  const quiesced = await quiesce(vm, runtime, order, handle)
  const disks = await prepareLiveDisks(parts, vm, runtime.qemu, order.disks)
  revert.add('disks', () => disks.release())
  const base = await parts.bases.ofVm(vm)
  const capture = await captureInItsWay(parts, {
    vm,
    qemu: runtime.qemu,
    workload: quiesced.workload,
    base,
    diskLevels: disks.levels,
    fate,
    request: manner,
    memoryFor: order.memoryFor,
    handle,
    onReleased: () => settle(parts, vm, fate, quiesced),
  })
  revert.keep()
  return { capture, base, disks, quiesced }
}

/** The capture is over: the vm is again what it was, or stays paused with its workload frozen in it. */
async function settle(parts: ForkParts, vm: VmRecord, fate: Fate, { isFrozen }: Quiesced): Promise<void> {
  const { context } = parts
  if (fate === 'goes-on') return void (await transition(context, vm.id, 'started'))
  if (fate === 'was-paused') return standAsBefore(context, vm.id)
  await stayPaused(context, vm.id, isFrozen)
  parts.ttl.reschedule()
}

/** A vm that stands has not stood for a time that could be told. */
function timingsOf(capture: RunningCapture, fate: Fate, { isFrozen }: Quiesced): Timings {
  const { freezeMs, captureMs, ...pause } = capture.timings
  const copy = captureMs === undefined ? {} : { captureMs }
  if (fate !== 'goes-on') return copy
  return { ...(isFrozen ? { freezeMs } : {}), ...pause, ...copy }
}
