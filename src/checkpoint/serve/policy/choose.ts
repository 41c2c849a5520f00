import { AdaptivePolicy } from './adaptive.ts'
import { noPolicy, type PolicyView, type PrefetchPolicy } from './policy.ts'
import { RecordedPolicy } from './recorded.ts'
import { PhysicalPolicy, VirtualPolicy } from './window.ts'

/**
 * `recorded` and `auto` push a working set first, follow it where a guest is ahead of that, and do as `adaptive` elsewhere.
 *
 * @param record pages that earlier restores needed, in that order
 */
export function choosePolicy(
  name: 'none' | 'physical' | 'virtual' | 'adaptive' | 'recorded' | 'auto',
  view: PolicyView,
  record: readonly number[] = [],
): PrefetchPolicy {
  if (name === 'none') return noPolicy
  if (name === 'physical') return new PhysicalPolicy(view)
  if (name === 'virtual') return new VirtualPolicy(view)
  const adaptive = new AdaptivePolicy(view)
  return record.length === 0 ? adaptive : new RecordedPolicy(view, record, adaptive)
}

/** Whether a policy begins with what earlier restores have needed. */
export const pushesWorkingSet = (name: string): boolean => name === 'recorded' || name === 'auto'
