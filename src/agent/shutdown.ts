import type { WaitOptions } from './deadline.ts'
import type { AgentSession } from './session.ts'

const flag = { reboot: 1, atOnce: 2 } as const

/**
 * Asks the guest to power off, or to reboot. Resolves before that begins; the end of the machine is QEMU's to tell.
 *
 * @param options `atOnce`: without giving processes their time to end
 * @throws RametError as `AgentSession.request`
 */
export async function shutDown(
  session: AgentSession,
  { reboot, atOnce, ...wait }: WaitOptions & { reboot?: boolean; atOnce?: boolean } = {},
): Promise<void> {
  await session.request('shutdown', { flags: (reboot ? flag.reboot : 0) | (atOnce ? flag.atOnce : 0) }, wait)
}
