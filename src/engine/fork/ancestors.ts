import { limits } from '../../shared/limits.ts'
import type { Ancestor, VmRecord } from '../records.ts'

/** What descendants write down of what they came from, so that their lineage can be told when that is gone. */
export function ancestorsBelow(source: Ancestor, { ancestors = [] }: Pick<VmRecord, 'ancestors'>): Ancestor[] {
  return [...ancestors, source].slice(-limits.ancestorCount)
}

/** A template takes the place of the vm that it is made of; it stands below the template of that. */
export function ancestorsOfTemplate(vm: VmRecord): Ancestor[] {
  const ancestors = vm.ancestors ?? []
  return ancestors.slice(0, ancestors.findIndex(({ id }) => id === vm.templateId) + 1)
}
