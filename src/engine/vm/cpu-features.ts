import { readCpuFeatures } from '../../qemu/cpu-features.ts'
import { asRametError } from '../../shared/errors.ts'
import type { EngineParts } from '../parts.ts'
import type { VmRecord } from '../records.ts'

/** Whoever restores is told what differs; where QEMU does not say, nothing can be compared. */
export async function cpuFeaturesOf({ context, runtimes }: EngineParts, vm: VmRecord): Promise<string[]> {
  const qmp = runtimes.get(vm.id)?.qemu.qmp
  if (qmp === undefined) return []
  return readCpuFeatures(qmp, vm.machine).catch((error: unknown) => {
    context.log.warn({ vm: vm.name, error: asRametError(error).message }, 'the features of its processor are not known')
    return []
  })
}
