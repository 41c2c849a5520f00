import { writeFile } from '../agent/file-transfer.ts'
import { thaw } from '../agent/freeze.ts'
import { runHooks } from '../agent/hooks.ts'
import { resumeSchedule } from '../agent/opening.ts'
import type { AgentSession } from '../agent/session.ts'
import type { ForkRequest, InjectedFile } from '../api/fork.ts'
import type { Timings } from '../api/timings.ts'
import { setLinks } from '../fork/capture.ts'
import { loadIncoming, resumeGuest } from '../qemu/incoming.ts'
import { asRametError } from '../shared/errors.ts'
import { faultPoint } from '../shared/fault.ts'
import { limits } from '../shared/limits.ts'
import { type ArmedChild, armChild, discardDraft } from './child.ts'
import type { ForkParts } from './fork-parts.ts'
import { untilEnd } from './guest-end.ts'
import { identify } from './identify.ts'
import { confine } from './limits-of-vm.ts'
import type { OperationHandle } from './operations.ts'
import type { TemplateRecord, VmRecord } from './records.ts'
import { discardVm } from './vm-actions.ts'
import type { VmRuntime } from './vm-runtime.ts'
import { announceState, transition } from './vm-states.ts'

export interface ChildPlan {
  template: TemplateRecord
  name: string
  forkIndex: number
  request: ForkRequest
  /** when the request came, on the monotonic clock */
  requestedAtMs: number
}

/** A child under way: its guest runs, and soon its workload does. */
export interface ForkedGuest {
  vmId: string
  timings: Timings
  /** resolves when the workload runs with an identity of its own; rejects when the child was destroyed */
  ready: Promise<VmRecord>
}

/**
 * Forks one child. Resolves when QEMU says that its guest runs; the rest follows in `ready`. Whatever goes
 * wrong before that end, nothing is left of the child.
 *
 * @throws RametError `NO_CAPACITY`, `NO_SPACE`, `VMM_FAILED`, `NAME_TAKEN`, `BASE_DAMAGED`, `CANCELLED`
 */
export async function forkChild(parts: ForkParts, plan: ChildPlan, handle: OperationHandle): Promise<ForkedGuest> {
  const { context } = parts
  const startMs = performance.now()
  const timings: Timings = { queueMs: startMs - plan.requestedAtMs }
  const child = parts.armed.take(plan.template.id) ?? (await armNow(parts, plan, handle, timings))
  const vm = await register(parts, plan, child)
  try {
    const runtime = parts.runtimes.add(vm, child.launched.qemu, child.guest)
    const ended = untilEnd(context, vm, runtime)
    ended.catch(() => {})
    // Not passt: it would leave the group whose filter keeps the guest off this host.
    confine(context, vm, [child.launched.qemu.identity.pid])
    await Promise.race([load(parts, plan, runtime, timings, handle), ended])
    timings.runningMs = performance.now() - plan.requestedAtMs
    faultPoint('fork.running')
    const ready = becomeReady(parts, plan, { vm, runtime, timings, handle, ended }).catch(async (error: unknown) => {
      await discardVm(parts, vm.id)
      throw asRametError(error)
    })
    ready.catch(() => {})
    return { vmId: vm.id, timings, ready }
  } catch (error) {
    await discardVm(parts, vm.id)
    throw asRametError(error)
  }
}

async function armNow(
  parts: ForkParts,
  plan: ChildPlan,
  handle: OperationHandle,
  timings: Timings,
): Promise<ArmedChild> {
  const child = await armChild(parts, plan.template, handle.id, handle.signal)
  timings.diskMs = child.launched.diskMs
  timings.spawnMs = child.launched.spawnMs
  return child
}

/** The armed process becomes a vm: from here on its record owns it, and no longer the journal alone. */
async function register(parts: ForkParts, plan: ChildPlan, child: ArmedChild): Promise<VmRecord> {
  const { context } = parts
  const { request, name } = plan
  const vm: VmRecord = {
    ...child.draft,
    name,
    hostname: name,
    forkIndex: plan.forkIndex,
    link: request.link,
    labels: request.labels,
    environment: { ...child.draft.environment, ...request.environment },
    ports: request.ports.map((port) => ({ ...port, hostPort: port.hostPort ?? 0 })),
    limits: request.limits,
    ...(request.ttlSeconds === undefined ? {} : { ttlMs: request.ttlSeconds * 1000 }),
    createdAtMs: context.clock.nowMs(),
  }
  faultPoint('fork.claim')
  try {
    // A power cut ends the child too, and its directory is in the journal; the flush comes with its next state.
    await context.vms.create(vm, 'kill')
  } catch (error) {
    await discardDraft(parts, child.draft)
    throw error
  }
  faultPoint('fork.claimed')
  context.events.emit({ type: 'vm.created', resource: { kind: 'vm', id: vm.id, name } })
  return vm
}

async function load(
  parts: ForkParts,
  plan: ChildPlan,
  runtime: VmRuntime,
  timings: Timings,
  handle: OperationHandle,
): Promise<void> {
  const stream = await parts.streams.of(plan.template)
  const loadStartMs = performance.now()
  await loadIncoming(runtime.qemu, [stream], { signal: handle.signal })
  faultPoint('fork.loaded')
  const resumeStartMs = performance.now()
  timings.loadMs = resumeStartMs - loadStartMs
  await resumeGuest(runtime.qemu)
  timings.resumeMs = performance.now() - resumeStartMs
}

interface Underway {
  vm: VmRecord
  runtime: VmRuntime
  timings: Timings
  handle: OperationHandle
  /** rejects when the guest ends first */
  ended: Promise<never>
}

/** Identity, files and hooks while the workload is still frozen and the links are down; then both are let go. */
async function becomeReady(parts: ForkParts, plan: ChildPlan, underway: Underway): Promise<VmRecord> {
  const { context } = parts
  const { vm, runtime, timings, ended } = underway
  const session = await Promise.race([personalize(parts, plan, underway), ended])
  faultPoint('fork.identified')
  await Promise.race([thaw(session), ended])
  if (vm.link === 'up') await setLinks(runtime.qemu, vm.nics.length, true)
  timings.readyMs = performance.now() - plan.requestedAtMs
  runtime.guest.publish(session)
  const nowMs = context.clock.nowMs()
  const running = await transition(context, vm.id, 'started', {
    startedAtMs: nowMs,
    agentProtocol: session.version,
    timings,
    ...(vm.ttlMs === undefined ? {} : { expiresAtMs: nowMs + vm.ttlMs }),
  })
  faultPoint('fork.recorded')
  context.journal.release(
    context.journal
      .openOf(vm.id)
      .filter(({ kind }) => kind !== 'cgroup')
      .map(({ id }) => id),
  )
  await parts.ports.publishAll(running)
  parts.ttl.reschedule()
  announceState(context, running)
  return context.vms.find(vm.id)
}

async function personalize(parts: ForkParts, plan: ChildPlan, underway: Underway): Promise<AgentSession> {
  const { vm, runtime, timings, handle } = underway
  const linkStartMs = performance.now()
  const session = await runtime.guest.open(resumeSchedule, limits.linkConnectTimeoutMs, handle.signal)
  const identityStartMs = performance.now()
  timings.linkMs = identityStartMs - linkStartMs
  await identify(parts.context, parts.identity, vm, session, handle.signal)
  timings.identityMs = performance.now() - identityStartMs
  faultPoint('fork.identity')
  for (const file of plan.request.files) await inject(session, file, handle.signal)
  if (plan.template.hasForkHooks) await runHooks(session, 'post-fork', { signal: handle.signal })
  return session
}

async function inject(session: AgentSession, file: InjectedFile, signal: AbortSignal): Promise<void> {
  await writeFile(session, file.path, [Buffer.from(file.contentBase64, 'base64')], {
    mode: file.mode ?? 0o644,
    makeParents: true,
    signal,
  })
}
