import { limits } from '../shared/limits.ts'
import type { WaitOptions } from './deadline.ts'
import type { AgentSession } from './session.ts'

/** what the answer may take beyond the time the guest was given */
const graceMs = 5_000

/**
 * Freezes everything the agent has started; resolves when the guest's kernel says so.
 *
 * @param options `timeoutMs`, default `limits.freezeTimeoutMs`: after it the agent thaws again and refuses
 * @returns how long it took inside the guest
 * @throws RametError `GUEST_REFUSED` (`ETIMEDOUT`), or as `AgentSession.request`
 */
export async function freeze(
  session: AgentSession,
  { timeoutMs = limits.freezeTimeoutMs, signal }: WaitOptions = {},
): Promise<{ durationMs: number }> {
  const answer = await session.request('freeze', { timeoutMs }, { signal, timeoutMs: timeoutMs + graceMs })
  return { durationMs: Number(answer.durationNs ?? 0n) / 1e6 }
}

/**
 * As `freeze`, for a capture: when it resolves, the guest has taken all that was ever sent to it, and nothing more
 * is sent until `thaw`.
 */
export async function freezeForCapture(session: AgentSession, options?: WaitOptions): Promise<void> {
  const frozen = freeze(session, options)
  // The request has left by now; its answer follows whatever was sent before.
  session.hold()
  try {
    await frozen
  } catch (error) {
    session.letOut()
    throw error
  }
}

/** Lets the workload go on. Thawing what is not frozen is no error. */
export async function thaw(session: AgentSession, options?: WaitOptions): Promise<void> {
  session.letOut()
  await session.request('thaw', {}, options)
}

/** Writes the guest's dirty pages to its disks. */
export async function syncDisks(session: AgentSession, options?: WaitOptions): Promise<void> {
  await session.request('sync', {}, options)
}

/**
 * Freezes all writable disk file systems; the guest thaws them by itself after `timeoutMs`. Protocol version 2.
 *
 * @throws RametError `GUEST_REFUSED`
 */
export async function freezeFileSystems(
  session: AgentSession,
  { timeoutMs = limits.freezeTimeoutMs, signal }: WaitOptions = {},
): Promise<void> {
  await session.request('fs.freeze', { timeoutMs }, { signal, timeoutMs: timeoutMs + graceMs })
}

export async function thawFileSystems(session: AgentSession, options?: WaitOptions): Promise<void> {
  await session.request('fs.thaw', {}, options)
}
