import type { WaitOptions } from './deadline.ts'
import type { AgentSession } from './session.ts'

/**
 * What the guest measures of itself, by name (docs/agent-protocol.md, section 9). Protocol version 2.
 *
 * @throws RametError as `AgentSession.request`
 */
export async function readMetrics(session: AgentSession, options?: WaitOptions): Promise<Map<string, number>> {
  const answer = await session.request('metrics', {}, options)
  const metrics = new Map<string, number>()
  for (const { name, value } of answer.metric ?? []) {
    if (name !== undefined && value !== undefined) metrics.set(name, Number(value))
  }
  return metrics
}
