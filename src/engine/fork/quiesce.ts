import { listDirectory } from '../../agent/file.ts'
import { freezeForCapture, thaw } from '../../agent/freeze.ts'
import { runHooks } from '../../agent/hooks.ts'
import type { AgentSession } from '../../agent/session.ts'
import type { Workload } from '../../fork/capture.ts'
import { isRametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import type { OperationHandle } from '../operations.ts'
import type { VmRecord } from '../records.ts'
import type { VmRuntime } from '../vm/vm-runtime.ts'
import type { CapturePurpose } from './capture-purpose.ts'
import { type CaptureManner, unanswered } from './fork-conflicts.ts'

/** A vm made ready for its capture. */
export interface Quiesced {
  workload: Workload
  /** whether the workload stands still in what is captured */
  isFrozen: boolean
  /** whether there may be hooks to run in each child */
  hasForkHooks: boolean
}

/** For a guest whose workload is let be: it does not execute while the guest is stopped, and that is all. */
const unfrozen: Workload = { freeze: async () => {}, thaw: async () => {} }

/**
 * Asks the agent whether it is there, runs the hooks, and says how to freeze the workload: whatever of it the
 * manner of the capture wants and the state of the vm allows.
 *
 * @throws RametError `GUEST_UNREACHABLE` when it is silent, within `limits.forkAgentTimeoutMs` if it is from the start; `GUEST_REFUSED` (a hook failed)
 */
export async function quiesce(
  vm: VmRecord,
  runtime: VmRuntime,
  { manner, purpose }: { manner: CaptureManner; purpose: CapturePurpose },
  handle: OperationHandle,
): Promise<Quiesced> {
  const asking = <T>(work: () => Promise<T>) => explaining(vm, purpose, handle, work)
  if (!manner.agent) return { workload: unfrozen, isFrozen: false, hasForkHooks: false }
  // A guest that does not execute cannot be asked; its children are, and say so if they have no hooks.
  if (vm.state === 'paused') return { workload: unfrozen, isFrozen: vm.frozenWhilePaused === true, hasForkHooks: true }
  const session = await asking(() => answering(runtime, handle))
  await asking(() => runHooks(session, 'pre-snapshot', { signal: handle.signal }))
  const hasForkHooks = await hasHooks(session)
  if (!manner.freeze) return { workload: unfrozen, isFrozen: false, hasForkHooks }
  const workload: Workload = {
    freeze: (signal) => asking(() => freezeForCapture(session, signal === undefined ? {} : { signal })),
    thaw: () => thaw(session),
  }
  return { workload, isFrozen: true, hasForkHooks }
}

/** A session whose agent has just answered: an open one may be that of an agent that hangs. */
async function answering(runtime: VmRuntime, { signal }: OperationHandle): Promise<AgentSession> {
  const startMs = performance.now()
  const session = await runtime.guest.session(signal, limits.forkAgentTimeoutMs)
  const leftMs = limits.forkAgentTimeoutMs - (performance.now() - startMs)
  await session.request('ping', {}, { signal, timeoutMs: Math.max(1, leftMs) })
  return session
}

/** Tells whoever captures a vm whose agent is silent, at whatever step, how it can be done all the same. */
async function explaining<T>(
  vm: VmRecord,
  purpose: CapturePurpose,
  { signal }: OperationHandle,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work()
  } catch (error) {
    signal.throwIfAborted()
    const isSilent = isRametError(error, 'GUEST_UNREACHABLE') || isRametError(error, 'AGENT_LINK_LOST')
    throw isSilent
      ? unanswered(vm, purpose, `its agent does not answer, and it runs on (${error.message})`, error)
      : error
  }
}

async function hasHooks(session: AgentSession): Promise<boolean> {
  try {
    return (await listDirectory(session, '/etc/ramet/post-fork.d')).totalCount > 0
  } catch {
    return false
  }
}
