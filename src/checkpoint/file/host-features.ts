/**
 * What this host offers to a checkpoint, in two steps: what the QEMU that is installed says, which is known before a vm
 * is made, and what a processor has here, which only a QEMU of that very machine can tell.
 */
import type { Accelerator } from '../../host/kvm.ts'
import type { QemuBinary } from '../../host/qemu-binary.ts'
import { readCpuFeatures } from '../../qemu/cpu-features.ts'
import type { MachineDescription } from '../../qemu/machine-description.ts'
import type { ExecuteOptions, QmpClient } from '../../qemu/qmp.ts'
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

/**
 * Adds the processor's features, as the QEMU says them that was started to restore the checkpoint and waits (`-S`,
 * `-incoming`) with nothing loaded yet: so the guest has just these, flags and all, and no second QEMU is started to ask.
 *
 * @throws RametError `QMP_FAILED`
 */
export async function withCpuFeatures(
  host: HostFeatures,
  qmp: QmpClient,
  machine: MachineDescription,
  options: ExecuteOptions = {},
): Promise<HostFeatures> {
  return { ...host, cpuFeatures: await readCpuFeatures(qmp, machine, options) }
}
