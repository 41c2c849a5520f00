import type { ForkCapture, ForkRequest } from '../../api/fork.ts'
import type { Timings } from '../../api/timings.ts'
import type { LiveCaptureOptions } from '../../fork/capture-live.ts'
import { isRunning } from '../../host/process-identity.ts'
import type { OpenBase } from '../../memory/base.ts'
import { foldDelta } from '../../memory/capture.ts'
import type { Delta } from '../../memory/delta.ts'
import { nodeNames } from '../../qemu/machine.ts'
import { encodeStream, type PageRun } from '../../qemu/migration-stream/encode.ts'
import { assert } from '../../shared/assert.ts'
import { asRametError, RametError } from '../../shared/errors.ts'
import { newId } from '../../shared/ids.ts'
import { Revert } from '../../shared/revert.ts'
import type { OperationHandle } from '../operations.ts'
import type { VmRecord } from '../records.ts'
import { illegal } from '../state.ts'
import { ttlPaused } from '../vm/ttl-changes.ts'
import { resumeVm } from '../vm/vm-actions.ts'
import { transition } from '../vm-states.ts'
import { captureInItsWay, type RunningCapture } from './capture-way.ts'
import { checkForkable } from './fork-conflicts.ts'
import type { ForkParts } from './fork-parts.ts'
import type { ForkSource } from './fork-source.ts'
import { prepareLiveDisks } from './live-disks.ts'
import { type Quiesced, quiesce } from './quiesce.ts'

/** A vm captured for a fork. `release` once all children have their disks. */
export interface LiveSource {
  source: ForkSource
  timings: Timings
  report: ForkCapture
  /** @param outcome a parent that was to stay paused goes on after all when nothing came of its fork */
  release(outcome: 'made' | 'failed'): Promise<void>
}

/**
 * Captures a vm for the children of a fork: one stop, and it runs on, unless it is to stay paused. Small deltas are
 * given to each child; where that would cost more than once the whole memory, base and delta are folded into a new
 * base that all children map (docs/decisions/0040).
 *
 * @throws RametError `ILLEGAL_STATE`, `GUEST_UNREACHABLE`, `GUEST_REFUSED` (a hook failed), `NO_CAPACITY`,
 *   `NO_SPACE`, `PAUSE_TOO_LONG`, `CANCELLED`; the vm is in the state that it was in then
 */
export async function captureSource(
  parts: ForkParts,
  vm: VmRecord,
  request: ForkRequest,
  handle: OperationHandle,
): Promise<LiveSource> {
  checkForkable(vm, request)
  const runtime = parts.runtimes.get(vm.id)
  if (runtime === undefined) throw illegal(vm.name, vm.state, 'fork')
  const fate = vm.state === 'paused' ? 'was-paused' : request.pauseParent ? 'stays-paused' : 'goes-on'
  await begin(parts, vm)
  await using revert = new Revert()
  try {
    handle.progress({ stage: 'quiescing', message: `${vm.name} is captured` })
    const quiesced = await quiesce(vm, runtime, request, handle)
    const disks = await prepareLiveDisks(parts, vm, runtime.qemu, request.count)
    revert.add('disks', () => disks.release())
    const base = await parts.bases.ofVm(vm)
    const capture = await captureInItsWay(parts, {
      vm,
      qemu: runtime.qemu,
      workload: quiesced.workload,
      base,
      diskLevels: disks.levels,
      fate,
      request,
      handle,
      onReleased: () => settle(parts, vm, fate, quiesced),
    })
    // Before anything else can fail: a base that was captured is as large as the vm, and nobody's until then.
    const parent = await parentOf(parts, vm, { capture, base, handle })
    const letGoOfBase = async () => {
      parent.held?.[Symbol.dispose]()
      await parts.bases.sweep()
    }
    revert.add('base', letGoOfBase)
    const seeds = await disks.seeds()
    revert.keep()
    return {
      source: {
        parent: { ...parent.fork, disks: seeds },
        isFrozen: quiesced.isFrozen,
        hasForkHooks: quiesced.hasForkHooks,
        linksDown: false,
        take: () => undefined,
        stream: async () => streamOf(vm, capture, parent.pages),
      },
      timings: { ...timingsOf(capture, fate, quiesced), ...parent.timings },
      report: capture.report,
      release: async (outcome) => {
        await disks.release()
        if (outcome === 'failed') await letGoOn(parts, vm, fate)
        await letGoOfBase()
      },
    }
  } catch (error) {
    await letGoOn(parts, vm, fate)
    throw isRunning(runtime.qemu.identity) ? error : endedMeanwhile(vm, error)
  }
}

/** Whichever step noticed it first says something else. */
function endedMeanwhile(vm: VmRecord, cause: unknown): RametError {
  return new RametError('VMM_FAILED', {
    message: `${vm.name} could not be forked: its QEMU ended meanwhile`,
    cause,
    remediation: `Start it again: \`ramet start ${vm.name}\`. Its disks are as the guest last flushed them.`,
  })
}

/** What becomes of the vm that is forked. */
type Fate = LiveCaptureOptions['parent']

async function begin(parts: ForkParts, vm: VmRecord): Promise<void> {
  const { context } = parts
  if (vm.state !== 'paused') await transition(context, vm.id, 'capture', {}, 'fork')
  // Written down, so that a daemon that comes after this one leaves it standing too.
  else await transition(context, vm.id, 'capture-paused', { capturedPaused: true }, 'fork')
}

/** The capture is over: the vm is again what it was, or stays paused with its workload frozen in it. */
async function settle(parts: ForkParts, vm: VmRecord, fate: Fate, { isFrozen }: Quiesced): Promise<void> {
  const { context } = parts
  if (fate === 'goes-on') return void (await transition(context, vm.id, 'started'))
  if (fate === 'was-paused') return void (await transition(context, vm.id, 'paused', { capturedPaused: undefined }))
  await transition(context, vm.id, 'paused', (record) => ({
    ...ttlPaused(record, context.clock.nowMs()),
    ...(isFrozen ? { frozenWhilePaused: true as const } : {}),
  }))
  parts.ttl.reschedule()
}

/** Nothing came of the fork: the vm goes on, if it did before. Never throws. */
async function letGoOn(parts: ForkParts, vm: VmRecord, fate: Fate): Promise<void> {
  const { context } = parts
  const state = context.vms.get(vm.id)?.state
  try {
    if (state === 'capturing' && fate === 'was-paused')
      await transition(context, vm.id, 'paused', { capturedPaused: undefined })
    else if (state === 'capturing') await transition(context, vm.id, 'started')
    else if (state === 'paused' && fate === 'stays-paused') await resumeVm(parts, vm.id)
  } catch (error) {
    context.log.error({ vm: vm.name, error: asRametError(error).message }, 'a vm could not go on after its fork')
  }
}

/** A parent that stands has not stood for a time that could be told. */
function timingsOf(capture: RunningCapture, fate: Fate, { isFrozen }: Quiesced): Timings {
  const { freezeMs, captureMs, ...pause } = capture.timings
  const copy = captureMs === undefined ? {} : { captureMs }
  if (fate !== 'goes-on') return copy
  return { ...(isFrozen ? { freezeMs } : {}), ...pause, ...copy }
}

interface Parent {
  fork: ForkSource['parent']
  /** delta pages that each child loads */
  pages: PageRun[]
  timings: Timings
  /** keeps a folded base until its children have it */
  held?: Disposable
}

interface Captured {
  capture: RunningCapture
  base: OpenBase | undefined
  handle: OperationHandle
}

async function parentOf(parts: ForkParts, vm: VmRecord, { capture, base, handle }: Captured): Promise<Parent> {
  const { memory, report } = capture
  const record = vm
  if (memory.kind === 'delta' && base !== undefined && report.memory === 'delta') {
    const fork = { kind: 'vm' as const, record, templateId: vm.templateId, baseId: base.id }
    return { fork, pages: deltaPages(memory.delta), timings: {} }
  }
  const startMs = performance.now()
  const folded = memory.kind === 'base' ? memory.base : await fold(parts, vm, { delta: memory.delta, base, handle })
  const foldMs = performance.now() - startMs
  const held = parts.bases.hold(folded.id)
  await parts.bases.adopt(folded).catch((error: unknown) => {
    held[Symbol.dispose]()
    throw error
  })
  const fork = { kind: 'vm' as const, record, baseId: folded.id }
  return { fork, pages: [], timings: memory.kind === 'base' ? {} : { foldMs }, held }
}

interface Unfolded {
  delta: Delta
  base: OpenBase | undefined
  handle: OperationHandle
}

function fold(parts: ForkParts, vm: VmRecord, { delta, base, handle }: Unfolded): Promise<OpenBase> {
  handle.progress({ stage: 'folding', message: 'making a base of its memory' })
  return foldDelta({
    id: newId('base', parts.context.random),
    sizeBytes: vm.machine.memoryBytes,
    delta,
    ...(base === undefined ? {} : { base }),
    signal: handle.signal,
  })
}

function deltaPages({ runs, bytes }: Delta): PageRun[] {
  let position = 0
  return runs.map(({ offsetBytes, lengthBytes }) => {
    const data = bytes.subarray(position, position + lengthBytes)
    position += lengthBytes
    return { block: nodeNames.memory, offsetBytes, data }
  })
}

function streamOf(vm: VmRecord, capture: RunningCapture, pages: readonly PageRun[]): Iterable<Buffer> {
  assert(capture.romPages.length > 0, 'a stream carries the firmware')
  return encodeStream({
    machine: vm.machine.machine,
    blocks: capture.deviceState.blocks,
    pages: [...pages, ...capture.romPages],
    deviceBlob: capture.deviceState.blob,
  })
}
