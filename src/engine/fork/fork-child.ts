import { writeFile } from '../../agent/file-transfer.ts'
import { thaw } from '../../agent/freeze.ts'
import { runHooks } from '../../agent/hooks.ts'
import type { AgentSession } from '../../agent/session.ts'
import type { ForkRequest, InjectedFile } from '../../api/fork.ts'
import type { Timings } from '../../api/timings.ts'
import { setLinks } from '../../fork/capture.ts'
import { resumeGuest } from '../../qemu/incoming.ts'
import { asRametError, type RametError } from '../../shared/errors.ts'
import { faultPoint } from '../../shared/fault.ts'
import { limits } from '../../shared/limits.ts'
import { identify } from '../guest/identify.ts'
import type { Claim } from '../host/admission.ts'
import type { OperationHandle } from '../operations.ts'
import type { VmRecord } from '../records.ts'
import { handOver } from '../recovery/handed-over.ts'
import type { Changes } from '../registry.ts'
import { untilEnd } from '../vm/guest-end.ts'
import { confine } from '../vm/limits-of-vm.ts'
import { ttlStarted } from '../vm/ttl-changes.ts'
import { discardVm } from '../vm/vm-actions.ts'
import type { VmRuntime } from '../vm/vm-runtime.ts'
import { announceState, failureOf, transition } from '../vm-states.ts'
import { type ArmedChild, armChild, discardArmed } from './child.ts'
import type { ForkParts } from './fork-parts.ts'
import type { ForkSource } from './fork-source.ts'

/** What is asked of the children of a fork, or of vms that are restored. */
export type ChildRequest = Pick<
  ForkRequest,
  'agent' | 'environment' | 'files' | 'idle' | 'labels' | 'limits' | 'link' | 'ports' | 'ttlSeconds'
>

export interface ChildPlan {
  source: ForkSource
  name: string
  forkIndex: number
  request: ChildRequest
  /** it goes on where another vm ended: rather than fail it takes other host ports than that one had */
  succeeds?: true
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
  const startMs = performance.now()
  const timings: Timings = { queueMs: startMs - plan.requestedAtMs }
  const need = plan.source.need(plan.name)
  const { admission } = parts
  // Whom it succeeds is gone already: refused, it would be lost.
  const claim = await (plan.succeeds ? admission.promise(need) : admission.admit(need, handle.signal))
  try {
    const forked = await forkAdmitted(parts, plan, { timings, handle, claim })
    const end = () => claim[Symbol.dispose]()
    void forked.ready.then(end, end)
    return forked
  } catch (error) {
    claim[Symbol.dispose]()
    throw error
  }
}

interface Admitted {
  timings: Timings
  handle: OperationHandle
  claim: Claim
}

async function forkAdmitted(parts: ForkParts, plan: ChildPlan, admitted: Admitted): Promise<ForkedGuest> {
  const { timings, handle } = admitted
  const child = plan.source.take() ?? (await armNow(parts, plan, handle, timings))
  const running = Promise.withResolvers<void>()
  // From its first record on, whoever else wants something of the child waits for its turn.
  const ready = parts.runtimes.exclusively(child.draft.id, async () => {
    const vm = await register(parts, plan, child)
    try {
      faultPoint('fork.claimed')
      const underway = await run(parts, plan, { vm, child, ...admitted })
      running.resolve()
      return await becomeReady(parts, plan, underway)
    } catch (error) {
      throw await discardFailed(parts, vm, asRametError(error))
    }
  })
  ready.catch(running.reject)
  await running.promise
  return { vmId: child.draft.id, timings, ready }
}

/** Nobody may be waiting for this child any more, so its end is told as an event too. */
async function discardFailed(parts: ForkParts, vm: VmRecord, error: RametError): Promise<RametError> {
  const { context } = parts
  const consoleLines = await parts.runtimes.consoleOf(vm.id).tail()
  const failure = failureOf(context, { reason: 'other', message: error.message, consoleLines })
  announceState(context, { ...vm, state: 'failed', failure }, vm.state)
  await discardVm(parts, vm.id).catch((cause: unknown) =>
    context.log.error({ vm: vm.name, error: asRametError(cause).message }, 'a failed child could not be removed'),
  )
  return error
}

async function armNow(
  parts: ForkParts,
  plan: ChildPlan,
  handle: OperationHandle,
  timings: Timings,
): Promise<ArmedChild> {
  const child = await armChild(parts, plan.source.parent, handle)
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
    ...(request.agent ? {} : { identity: 'none' as const }),
    ...(plan.source.isFrozen ? {} : { frozenAtFork: false as const }),
    labels: request.labels,
    environment: { ...child.draft.environment, ...request.environment },
    ports: request.ports.map((port) => ({ ...port, hostPort: port.hostPort ?? 0 })),
    limits: request.limits,
    ...(request.ttlSeconds === undefined ? {} : { ttlMs: request.ttlSeconds * 1000 }),
    ...(request.idle === undefined ? {} : { idle: request.idle }),
    createdAtMs: context.clock.nowMs(),
  }
  try {
    faultPoint('fork.claim')
    // A power cut ends the child too, and its directory is in the journal; the flush comes with its next state.
    await context.vms.create(vm, 'kill')
  } catch (error) {
    await discardArmed(parts, child)
    throw error
  }
  context.events.emit({ type: 'vm.created', resource: { kind: 'vm', id: vm.id, name } })
  return vm
}

interface Claimed extends Admitted {
  vm: VmRecord
  child: ArmedChild
}

/** Gives the waiting QEMU its guest, and lets that run. */
async function run(parts: ForkParts, plan: ChildPlan, claimed: Claimed): Promise<Underway> {
  const { vm, child, timings, handle, claim } = claimed
  const { qemu } = child.launched
  const runtime = parts.runtimes.add(vm, qemu, child.guest)
  const ended = untilEnd(parts.context, vm, runtime)
  ended.catch(() => {})
  // Not passt: it would leave the group whose filter keeps the guest off this host.
  await confine(parts, vm, qemu.identity.pid)
  await Promise.race([load(plan, claimed, runtime), ended])
  claim.guestHasCome()
  timings.runningMs = performance.now() - plan.requestedAtMs
  faultPoint('fork.running')
  return { vm, runtime, timings, handle, ended }
}

async function load(plan: ChildPlan, { vm, timings, handle }: Claimed, runtime: VmRuntime): Promise<void> {
  const loadStartMs = performance.now()
  await plan.source.load(vm, runtime.qemu, handle.signal)
  faultPoint('fork.loaded')
  // A guest captured while it ran believes in its links; no child may use them in its parent's name.
  if (!plan.source.linksDown) await setLinks(runtime.qemu, vm.nics, false)
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

/**
 * Identity, files and hooks while the workload is still frozen and the links are down; then both are let go. A
 * workload that was not frozen executes meanwhile. Without the agent there is none of it, and the links stay down.
 */
async function becomeReady(parts: ForkParts, plan: ChildPlan, underway: Underway): Promise<VmRecord> {
  if (!plan.request.agent) return settleRunning(parts, underway, {})
  const { vm, runtime, timings, ended } = underway
  const session = await Promise.race([personalize(parts, plan, underway), ended])
  faultPoint('fork.identified')
  // A child that cannot have the ports asked for fails before its workload runs.
  await parts.ports.publishAll(vm, plan.succeeds ? 'again' : 'first')
  await Promise.race([thaw(session), ended])
  if (vm.link === 'up') await setLinks(runtime.qemu, vm.nics, true)
  timings.readyMs = performance.now() - plan.requestedAtMs
  runtime.guest.publish(session)
  return settleRunning(parts, underway, { agentProtocol: session.version })
}

async function settleRunning(parts: ForkParts, underway: Underway, changes: Changes<VmRecord>): Promise<VmRecord> {
  const { context } = parts
  const { vm, timings } = underway
  const nowMs = context.clock.nowMs()
  await transition(context, vm.id, 'started', (record) => ({
    ...ttlStarted(record, nowMs),
    startedAtMs: nowMs,
    ...changes,
    timings,
  }))
  faultPoint('fork.recorded')
  handOver(context, vm.id)
  parts.ttl.reschedule()
  return context.vms.find(vm.id)
}

async function personalize(parts: ForkParts, plan: ChildPlan, underway: Underway): Promise<AgentSession> {
  const { vm, runtime, timings, handle } = underway
  const linkStartMs = performance.now()
  const session = await runtime.guest.open(plan.source.opening, limits.linkConnectTimeoutMs, handle.signal)
  const identityStartMs = performance.now()
  timings.linkMs = identityStartMs - linkStartMs
  await identify(parts.context, parts.identity, vm, session, handle.signal)
  timings.identityMs = performance.now() - identityStartMs
  parts.restores.mark(vm.id, 'ready')
  faultPoint('fork.identity')
  for (const file of plan.request.files) await inject(session, file, handle.signal)
  if (plan.source.hasForkHooks) await runHooks(session, 'post-fork', { signal: handle.signal })
  return session
}

async function inject(session: AgentSession, file: InjectedFile, signal: AbortSignal): Promise<void> {
  await writeFile(session, file.path, [Buffer.from(file.contentBase64, 'base64')], {
    mode: file.mode ?? 0o644,
    makeParents: true,
    signal,
  })
}
