import type { VmRecord } from '../records.ts'

/** Whether a vm is a child on its way, rather than one that boots: then it goes when that fails. */
export function isBeingForked({ state, baseId, source, startedAtMs }: VmRecord): boolean {
  if (state !== 'starting') return false
  // A boot has no base under its memory; but neither has a child whose memory comes while it runs.
  return baseId !== undefined || (source.kind === 'snapshot' && startedAtMs === undefined)
}
