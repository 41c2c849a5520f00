import type { EngineContext } from '../context.ts'

/**
 * What was acquired for a vm belongs to its record from now on, and recovery finds it there; but for its
 * control group, which the record does not name. To be called once the record says that it runs.
 */
export function handOver(context: EngineContext, vmId: string): void {
  const { journal } = context
  const owned = journal.openOf(vmId).filter(({ kind }) => kind !== 'cgroup')
  journal.release(owned.map(({ id }) => id))
}
