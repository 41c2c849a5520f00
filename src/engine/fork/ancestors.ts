import { limits } from '../../shared/limits.ts'
import type { Ancestor, TemplateRecord, VmRecord } from '../records.ts'

/** What descendants of a vm or template write down, so that their lineage can be told when it is gone. */
export function ancestorsBelow(kind: Ancestor['kind'], parent: VmRecord | TemplateRecord): Ancestor[] {
  return [...(parent.ancestors ?? []), { kind, id: parent.id, name: parent.name }].slice(-limits.ancestorCount)
}

/** A template takes the place of the vm that it is made of; it stands below the template of that. */
export function ancestorsOfTemplate(vm: VmRecord): Ancestor[] {
  const ancestors = vm.ancestors ?? []
  return ancestors.slice(0, ancestors.findIndex(({ id }) => id === vm.templateId) + 1)
}
