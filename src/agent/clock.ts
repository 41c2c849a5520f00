import type { Clock } from '../shared/clock.ts'
import type { WaitOptions } from './deadline.ts'
import { need } from './guest-error.ts'
import type { AgentSession } from './session.ts'
import type { Fields } from './wire/field-table.ts'

/** One comparison of the clocks: the guest's time against the middle of the round trip. */
export interface ClockSample {
  /** guest minus host, milliseconds; off by at most half the round trip */
  readonly skewMs: number
  readonly roundTripMs: number
}

/** Compares the clocks. */
export async function sampleClock(session: AgentSession, options?: WaitOptions): Promise<ClockSample> {
  return (await timed(session, 'ping', () => ({}), options)).sample
}

/**
 * Sets the guest's wall clock to the host's.
 *
 * @param delayMs how long the request is expected to take to the guest
 * @returns the comparison with what the guest read back
 */
export async function setClock(session: AgentSession, delayMs: number, options?: WaitOptions): Promise<ClockSample> {
  const fields = () => ({ timeNs: hostTimeNs(session.clock, delayMs) })
  return (await timed(session, 'clock.set', fields, options)).sample
}

/** Asks for something whose answer carries `timeNs`, and compares. */
export async function timed(
  session: AgentSession,
  operation: string,
  fields: () => Fields,
  options?: WaitOptions,
): Promise<{ answer: Fields; sample: ClockSample }> {
  const { clock } = session
  const sentWallMs = clock.nowMs()
  const sentMs = clock.monotonicMs()
  const answer = await session.request(operation, fields(), options)
  const roundTripMs = clock.monotonicMs() - sentMs
  const guestMs = Number(need(answer.timeNs, 'timeNs')) / 1e6
  return { answer, sample: { skewMs: guestMs - (sentWallMs + roundTripMs / 2), roundTripMs } }
}

/** The host's wall clock as it will be after `delayMs`, nanoseconds since 1970. */
export function hostTimeNs(clock: Clock, delayMs = 0): bigint {
  return BigInt(Math.round((clock.nowMs() + delayMs) * 1e6))
}
