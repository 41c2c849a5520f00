import type { ForkCapture, ForkRequest } from '../../api/fork.ts'
import type { Workload } from '../../fork/capture.ts'
import { type CapturedMemory, captureBackground } from '../../fork/capture-background.ts'
import { captureLive, type LiveCaptureOptions, type PauseTimings } from '../../fork/capture-live.ts'
import {
  type CaptureChoice,
  type CaptureFacts,
  chooseCapture,
  type MemoryPlan,
  planMemory,
} from '../../fork/choose-capture.ts'
import { type OpenBase, residentBytes } from '../../memory/base.ts'
import { findGuestRam } from '../../memory/guest-ram.ts'
import { listPrivateRuns, totalBytes } from '../../memory/private-runs.ts'
import { disableBackground, enableBackground } from '../../qemu/background-snapshot.ts'
import type { DeviceState } from '../../qemu/device-state.ts'
import type { PageRun } from '../../qemu/migration-stream/encode.ts'
import type { QemuProcess } from '../../qemu/process.ts'
import { newId } from '../../shared/ids.ts'
import type { OperationHandle } from '../operations.ts'
import type { VmRecord } from '../records.ts'
import type { ForkParts } from './fork-parts.ts'

/** The state of a running vm at one moment, in either way. */
export interface RunningCapture {
  deviceState: DeviceState
  romPages: PageRun[]
  memory: CapturedMemory
  /** `captureMs` of a copy, `streamMs` of the background */
  timings: Omit<PauseTimings, 'captureMs'> & { captureMs?: number; streamMs?: number }
  report: ForkCapture
}

export interface CaptureRequest {
  vm: VmRecord
  qemu: QemuProcess
  workload: Workload
  base: OpenBase | undefined
  diskLevels: readonly number[]
  /** what becomes of it; one that is to stand is always copied */
  fate: LiveCaptureOptions['parent']
  request: Pick<ForkRequest, 'capture' | 'maxPauseMs'>
  /** how many children its memory is for; a file wants what is over the base alone, however much that is */
  memoryFor: { children: number } | 'a file'
  handle: OperationHandle
  /** told when the vm is what it shall be; its memory may still be read */
  onReleased: () => Promise<void>
}

/**
 * Captures a vm in the way that suits the caller's goal. That a pause would be too long is best known before it.
 *
 * @throws RametError `PAUSE_TOO_LONG`, the vm not having stood still or running on; those of either capture
 */
export async function captureInItsWay(parts: ForkParts, run: CaptureRequest): Promise<RunningCapture> {
  const facts = await factsOf(run)
  // Before memory is read: that fills holes of the base.
  const baseBytes = run.base === undefined ? undefined : residentBytes(run.base)
  const choice = await choose(run.qemu, facts)
  const chosen = { facts, choice, baseBytes }
  run.handle.progress({ stage: 'capturing', message: `${run.vm.name} is captured (${choice.way})` })
  if (choice.way === 'background') return captureInBackground(parts, run, chosen)
  const capture = await captureLive({
    qemu: run.qemu,
    workload: run.workload,
    memoryBytes: run.vm.machine.memoryBytes,
    diskLevels: run.diskLevels,
    ...(run.base === undefined ? {} : { base: run.base }),
    parent: run.fate,
    ...(facts.maxPauseMs === undefined ? {} : { maxPauseMs: facts.maxPauseMs }),
    signal: run.handle.signal,
  })
  await run.onReleased()
  const { deviceState, romPages, delta, timings } = capture
  return {
    deviceState,
    romPages,
    memory: { kind: 'delta', delta },
    timings,
    report: reportOf(run, chosen, delta.bytes.length),
  }
}

interface Chosen {
  facts: CaptureFacts
  choice: CaptureChoice
  /** data of the base that the vm runs on */
  baseBytes: number | undefined
}

async function factsOf({ vm, qemu, base, fate, request }: CaptureRequest): Promise<CaptureFacts> {
  const ram = findGuestRam({
    pid: qemu.identity.pid,
    sizeBytes: vm.machine.memoryBytes,
    ...(base === undefined ? {} : { baseId: base.id }),
  })
  return {
    deltaBytes: totalBytes(await listPrivateRuns(ram)),
    guestBytes: vm.machine.memoryBytes,
    wish: request.capture ?? 'auto',
    ...(fate === 'goes-on' ? {} : { obstacle: 'the vm is not to run on' }),
    // A vm that stands anyway has no pause that could be too long.
    ...(request.maxPauseMs === undefined || fate !== 'goes-on' ? {} : { maxPauseMs: request.maxPauseMs }),
  }
}

/** QEMU is asked for the background only when that would be taken; its capability is on then. */
async function choose(qemu: QemuProcess, facts: CaptureFacts): Promise<CaptureChoice> {
  const choice = chooseCapture(facts)
  if (choice.way !== 'background') return choice
  const obstacle = await enableBackground(qemu)
  return obstacle === undefined ? choice : chooseCapture({ ...facts, obstacle })
}

async function captureInBackground(parts: ForkParts, run: CaptureRequest, chosen: Chosen): Promise<RunningCapture> {
  const { vm, qemu, base, handle } = run
  const { facts } = chosen
  const plan = planOf(run, chosen, facts.deltaBytes)
  const isDelta = plan.memory === 'delta'
  const { deviceState, romPages, memory, timings } = await captureBackground({
    qemu,
    workload: run.workload,
    memoryBytes: vm.machine.memoryBytes,
    diskLevels: run.diskLevels,
    ...(base === undefined ? {} : { base }),
    into: isDelta ? { kind: 'delta' } : { kind: 'base', id: newId('base', parts.context.random) },
    streamBytes: plan.foldedCostBytes,
    keptBytes: isDelta ? facts.deltaBytes : plan.foldedCostBytes,
    signal: handle.signal,
    onProgress: (stage, doneBytes, totalBytes) =>
      handle.progress({ stage, doneBytes, totalBytes, message: `${vm.name} runs, its memory is being read` }),
    onResumed: run.onReleased,
  }).catch(async (error: unknown) => {
    // It may have failed before there was anything of its own to undo.
    if (qemu.qmp.isOpen) await disableBackground(qemu)
    throw error
  })
  const deltaBytes = memory.kind === 'delta' ? memory.delta.bytes.length : facts.deltaBytes
  const report = reportOf(run, chosen, deltaBytes)
  return {
    deviceState,
    romPages,
    memory,
    timings,
    report: memory.kind === 'base' ? { ...report, memory: 'folded' } : report,
  }
}

function planOf({ vm, memoryFor }: CaptureRequest, { baseBytes }: Chosen, deltaBytes: number): MemoryPlan {
  const count = memoryFor === 'a file' ? 1 : memoryFor.children
  const plan = planMemory({ count, deltaBytes, guestBytes: vm.machine.memoryBytes, baseBytes })
  return memoryFor === 'a file' && baseBytes !== undefined ? { ...plan, memory: 'delta' } : plan
}

function reportOf(run: CaptureRequest, chosen: Chosen, deltaBytes: number): ForkCapture {
  const { choice, facts } = chosen
  return { ...choice, deltaBytes, guestBytes: facts.guestBytes, ...planOf(run, chosen, deltaBytes) }
}
