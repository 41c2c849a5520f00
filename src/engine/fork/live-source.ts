import type { ForkCapture, ForkRequest } from '../../api/fork.ts'
import type { Timings } from '../../api/timings.ts'
import type { OpenBase } from '../../memory/base.ts'
import { foldDelta } from '../../memory/capture.ts'
import type { Delta } from '../../memory/delta.ts'
import { nodeNames } from '../../qemu/machine.ts'
import { encodeStream, type PageRun } from '../../qemu/migration-stream/encode.ts'
import { assert } from '../../shared/assert.ts'
import { newId } from '../../shared/ids.ts'
import { Revert } from '../../shared/revert.ts'
import type { OperationHandle } from '../operations.ts'
import type { VmRecord } from '../records.ts'
import { startNeed } from '../vm/limits-of-vm.ts'
import type { RunningCapture } from './capture-way.ts'
import type { ForkParts } from './fork-parts.ts'
import { type ForkSource, loadingStream } from './fork-source.ts'
import { captureMoment, type LiveMoment } from './live-moment.ts'

/** A vm captured for a fork. `release` once all children have their disks. */
export interface LiveSource {
  source: ForkSource
  timings: Timings
  report: ForkCapture
  /** @param outcome a parent that was to stay paused goes on after all when nothing came of its fork */
  release(outcome: 'made' | 'failed'): Promise<void>
}

/**
 * Captures a vm for the children of a fork. Small deltas are given to each child; where that would cost more than once
 * the whole memory, base and delta are folded into a new base that all children map (docs/decisions/0040).
 *
 * @throws RametError as `captureMoment`; the vm is in the state that it was in then
 */
export async function captureSource(
  parts: ForkParts,
  vm: VmRecord,
  request: ForkRequest,
  handle: OperationHandle,
): Promise<LiveSource> {
  const { count } = request
  const order = {
    purpose: 'fork' as const,
    manner: request,
    staysPaused: request.pauseParent,
    disks: { copies: count, mayLend: true, what: `a fork of ${vm.name} into ${count}` },
    memoryFor: { children: count },
  }
  const moment = await captureMoment(parts, vm, order, handle)
  try {
    return await sourceOf(parts, vm, moment, handle)
  } catch (error) {
    await moment.release('failed')
    throw moment.explain(error)
  }
}

async function sourceOf(
  parts: ForkParts,
  vm: VmRecord,
  moment: LiveMoment,
  handle: OperationHandle,
): Promise<LiveSource> {
  const { capture, base, quiesced } = moment
  await using revert = new Revert()
  // Before anything else can fail: a base that was captured is as large as the vm, and nobody's until then.
  const parent = await parentOf(parts, vm, { capture, base, handle })
  const letGoOfBase = async () => {
    parent.held?.[Symbol.dispose]()
    await parts.bases.sweep()
  }
  revert.add('base', letGoOfBase)
  const seeds = await moment.disks.seeds()
  revert.keep()
  return {
    source: {
      parent: { ...parent.fork, disks: seeds },
      isFrozen: quiesced.isFrozen,
      hasForkHooks: quiesced.hasForkHooks,
      linksDown: false,
      need: (name) => startNeed(`starting ${name}`, bytesOf(parent.pages)),
      take: () => undefined,
      ...loadingStream(async () => streamOf(vm, capture, parent.pages)),
    },
    timings: { ...moment.timings, ...parent.timings },
    report: capture.report,
    release: async (outcome) => {
      await moment.release(outcome)
      await letGoOfBase()
    },
  }
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
  const source = { kind: 'vm' as const, id: vm.id, name: vm.name }
  if (memory.kind === 'delta' && base !== undefined && report.memory === 'delta') {
    const fork = { source, record: vm, templateId: vm.templateId, baseId: base.id }
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
  const fork = { source, record: vm, baseId: folded.id }
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

function bytesOf(pages: readonly PageRun[]): number {
  return pages.reduce((sum, { data }) => sum + data.length, 0)
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
