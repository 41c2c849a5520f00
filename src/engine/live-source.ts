import { listDirectory } from '../agent/file.ts'
import { freeze, thaw } from '../agent/freeze.ts'
import { runHooks } from '../agent/hooks.ts'
import type { AgentSession } from '../agent/session.ts'
import type { Timings } from '../api/timings.ts'
import { captureLive, type LiveCapture } from '../fork/capture-live.ts'
import type { OpenBase } from '../memory/base.ts'
import { foldDelta } from '../memory/capture.ts'
import { nodeNames } from '../qemu/machine.ts'
import { encodeStream, type PageRun } from '../qemu/migration-stream/encode.ts'
import { assert } from '../shared/assert.ts'
import { newId } from '../shared/ids.ts'
import { limits } from '../shared/limits.ts'
import { Revert } from '../shared/revert.ts'
import type { ForkParts } from './fork-parts.ts'
import type { ForkSource } from './fork-source.ts'
import { type LiveDisks, prepareLiveDisks } from './live-disks.ts'
import type { OperationHandle } from './operations.ts'
import type { VmRecord } from './records.ts'
import type { VmRuntime } from './vm-runtime.ts'
import { transition } from './vm-states.ts'

/** A vm captured for a fork. `release` once all children have their disks. */
export interface LiveSource {
  source: ForkSource
  timings: Timings
  release(): Promise<void>
}

/**
 * Captures a running vm for `count` children: one stop, and it runs on. Small deltas are given to each child;
 * where that would cost more than once the whole memory, base and delta are folded into a new base that all
 * children map (docs/decisions/0040).
 *
 * @throws RametError `ILLEGAL_STATE`, `GUEST_REFUSED` (a hook failed), `NO_CAPACITY`, `NO_SPACE`, `CANCELLED`;
 *   the vm runs on then
 */
export async function captureSource(
  parts: ForkParts,
  vm: VmRecord,
  count: number,
  handle: OperationHandle,
): Promise<LiveSource> {
  const { context } = parts
  await transition(context, vm.id, 'capture', {}, 'fork')
  const runtime = parts.runtimes.reachable(vm, 'fork')
  await using revert = new Revert()
  try {
    const session = await runtime.guest.session(handle.signal)
    handle.progress({ stage: 'quiescing', message: `${vm.name} is captured` })
    await runHooks(session, 'pre-snapshot', { signal: handle.signal })
    const hasForkHooks = await hasHooks(session)
    const disks = await prepareLiveDisks(parts, vm, runtime.qemu, count)
    revert.add('disks', () => disks.release())
    const base = await parts.bases.ofVm(vm)
    const capture = await captureNow(vm, runtime, session, { base, disks }, handle)
    await transition(context, vm.id, 'started')
    const seeds = await disks.seeds()
    const parent = await parentOf(parts, vm, { capture, base, count, handle })
    revert.keep()
    return {
      source: {
        parent: { ...parent.fork, disks: seeds },
        hasForkHooks,
        linksDown: false,
        take: () => undefined,
        stream: async () => streamOf(vm, capture, parent.pages),
      },
      timings: { ...capture.timings, ...parent.timings },
      release: async () => {
        parent.held?.[Symbol.dispose]()
        await disks.release()
        await parts.bases.sweep()
      },
    }
  } catch (error) {
    if (context.vms.get(vm.id)?.state === 'capturing') await transition(context, vm.id, 'started')
    throw error
  }
}

function captureNow(
  vm: VmRecord,
  runtime: VmRuntime,
  session: AgentSession,
  { base, disks }: { base: OpenBase | undefined; disks: LiveDisks },
  handle: OperationHandle,
): Promise<LiveCapture> {
  return captureLive({
    qemu: runtime.qemu,
    workload: {
      freeze: async (signal) => void (await freeze(session, signal === undefined ? {} : { signal })),
      thaw: () => thaw(session),
    },
    memoryBytes: vm.machine.memoryBytes,
    diskLevels: disks.levels,
    ...(base === undefined ? {} : { base }),
    signal: handle.signal,
  })
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
  capture: LiveCapture
  base: OpenBase | undefined
  count: number
  handle: OperationHandle
}

async function parentOf(parts: ForkParts, vm: VmRecord, of: Captured): Promise<Parent> {
  const { capture, base, count, handle } = of
  const record = vm
  const isSmall = base !== undefined && count * capture.delta.bytes.length <= limits.forkDeltaBytes
  if (isSmall) {
    const fork = { kind: 'vm' as const, record, templateId: vm.templateId, baseId: base.id }
    return { fork, pages: deltaPages(capture), timings: {} }
  }
  handle.progress({ stage: 'folding', message: 'making a base of its memory' })
  const startMs = performance.now()
  const folded = await foldDelta({
    id: newId('base', parts.context.random),
    sizeBytes: vm.machine.memoryBytes,
    delta: capture.delta,
    ...(base === undefined ? {} : { base }),
    signal: handle.signal,
  })
  const held = parts.bases.hold(folded.id)
  await parts.bases.adopt(folded)
  const fork = { kind: 'vm' as const, record, baseId: folded.id }
  return { fork, pages: [], timings: { foldMs: performance.now() - startMs }, held }
}

function deltaPages({ delta }: LiveCapture): PageRun[] {
  let position = 0
  return delta.runs.map(({ offsetBytes, lengthBytes }) => {
    const data = delta.bytes.subarray(position, position + lengthBytes)
    position += lengthBytes
    return { block: nodeNames.memory, offsetBytes, data }
  })
}

function streamOf(vm: VmRecord, capture: LiveCapture, pages: readonly PageRun[]): Iterable<Buffer> {
  assert(capture.romPages.length > 0, 'a stream carries the firmware')
  return encodeStream({
    machine: vm.machine.machine,
    blocks: capture.deviceState.blocks,
    pages: [...pages, ...capture.romPages],
    deviceBlob: capture.deviceState.blob,
  })
}

async function hasHooks(session: AgentSession): Promise<boolean> {
  try {
    return (await listDirectory(session, '/etc/ramet/post-fork.d')).totalCount > 0
  } catch {
    return false
  }
}
