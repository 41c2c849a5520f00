/** What this host offers to a checkpoint, but for the processor: what that has, only a QEMU of the machine can tell. */
import type { Accelerator } from '../../host/kvm.ts'
import type { QemuBinary } from '../../host/qemu-binary.ts'
import { rametVersion } from '../../shared/version.ts'
import type { HostFeatures } from './fitness.ts'
import type { BaseReference } from './manifest.ts'

/**
 * Everything but the processor: what QEMU would refuse at its start is found with it, and told with a remedy.
 *
 * @param qemu as `findQemu` gives it
 * @param accelerator the best that works here: a host with KVM can emulate too
 * @param bases that are stored here
 */
export function offeredFeatures(
  qemu: Pick<QemuBinary, 'version' | 'machines'>,
  accelerator: Accelerator,
  bases: readonly BaseReference[],
): HostFeatures {
  return {
    rametVersion,
    qemuVersion: qemu.version,
    machineTypes: qemu.machines,
    accelerators: accelerator === 'kvm' ? ['kvm', 'tcg'] : ['tcg'],
    bases,
  }
}
