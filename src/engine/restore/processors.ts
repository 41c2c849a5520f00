import { launch } from '../../fork/launch.ts'
import { readCpuFeatures } from '../../qemu/cpu-features.ts'
import { cpuModelOf } from '../../qemu/machine.ts'
import type { MachineDescription } from '../../qemu/machine-description.ts'
import { newId } from '../../shared/ids.ts'
import type { EngineContext } from '../context.ts'
import type { ImageLibrary } from '../image/image-library.ts'
import type { VmRecord } from '../records.ts'
import { endAllOf, removeDirectory } from '../vm/release-vm.ts'
import { launchPlan } from '../vm/vm-plan.ts'

/**
 * What the processors of guests can do on this host, known before a vm is made or changed. Only a QEMU of the machine
 * can tell; so one is started that has no disk and no network, executes nothing, and ends when it has been asked.
 */
export class Processors {
  readonly #context: EngineContext
  readonly #images: ImageLibrary
  /** by what they depend on; for as long as this daemon lives */
  readonly #known = new Map<string, Promise<readonly string[]>>()

  constructor(context: EngineContext, images: ImageLibrary) {
    this.#context = context
    this.#images = images
  }

  /**
   * The features that the processor of this vm's machine would have here, by QEMU's names, ascending.
   *
   * @param operationId in whose name a QEMU is started, for the journal
   * @throws RametError `VMM_FAILED`, `QMP_FAILED`; the next call asks again
   */
  async featuresOf(vm: VmRecord, operationId: string): Promise<readonly string[]> {
    const key = keyOf(this.#context.host.qemuVersion, vm.machine)
    const known = this.#known.get(key) ?? this.#ask(vm, operationId)
    this.#known.set(key, known)
    return known.catch((error: unknown) => {
      if (this.#known.get(key) === known) this.#known.delete(key)
      throw error
    })
  }

  /** Others may wait for the same answer: so it is not cancelled with the call that happened to come first. */
  async #ask(vm: VmRecord, operationId: string): Promise<readonly string[]> {
    const context = this.#context
    const machine: MachineDescription = { ...vm.machine, diskCount: 0, nicCount: 0 }
    const manifest = await this.#images.manifest(vm.imageId)
    const id = newId('vm', context.random)
    const seat = context.seats.take()
    try {
      const plan = launchPlan(context, { vm: { ...vm, id, seat, machine, disks: [], nics: [] }, manifest, operationId })
      const { qemu } = await launch(plan, { journal: context.journal, spawn: context.spawn })
      try {
        return await readCpuFeatures(qemu.qmp, machine)
      } finally {
        await qemu.kill()
      }
    } finally {
      await endAllOf(context, id)
      await removeDirectory(context, id)
      context.seats.free(seat)
    }
  }
}

function keyOf(qemuVersion: string, machine: MachineDescription): string {
  return JSON.stringify([qemuVersion, machine.accelerator, machine.machine, cpuModelOf(machine)])
}
