import { AdaptivePolicy } from './adaptive.ts'
import { noPolicy, type PolicyView, type PrefetchPolicy } from './policy.ts'
import { PhysicalPolicy, VirtualPolicy } from './window.ts'

/** `recorded` and `auto` push a working set first, and go on as `adaptive` does. */
export function choosePolicy(
  name: 'none' | 'physical' | 'virtual' | 'adaptive' | 'recorded' | 'auto',
  view: PolicyView,
): PrefetchPolicy {
  if (name === 'none') return noPolicy
  if (name === 'physical') return new PhysicalPolicy(view)
  if (name === 'virtual') return new VirtualPolicy(view)
  return new AdaptivePolicy(view)
}

/** Whether a policy begins with what earlier restores have needed. */
export const pushesWorkingSet = (name: string): boolean => name === 'recorded' || name === 'auto'
