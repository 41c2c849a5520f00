import { rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { lendDisk, returnDisk } from '../../disk/lend.ts'
import { diskFile } from '../../fork/disk-file.ts'
import { faultPoint } from '../../shared/fault.ts'
import { newId } from '../../shared/ids.ts'
import type { EngineContext } from '../context.ts'
import type { DeltaRecord, VmRecord } from '../records.ts'
import { userOf } from '../vm/vm-plan.ts'

/**
 * The catalogue of frozen deltas. A delta is lent by its vm: it stands still, and children stand on it until they
 * have collapsed it. It belongs to none of them; who reads it is seen from the records of the vms.
 */
export class Deltas {
  readonly #context: EngineContext
  /** whose children are on their way, how often */
  readonly #held = new Map<string, number>()

  constructor(context: EngineContext) {
    this.#context = context
  }

  /**
   * Lends the level 0 of a vm's disk, which stands still by now: what the guest writes goes to a level above. Under
   * the vm's lock.
   *
   * @returns id of the frozen delta
   */
  async lend(vmId: string, disk: number): Promise<string> {
    const context = this.#context
    const id = newId('delta', context.random)
    await context.deltas.create({ schemaVersion: 1, id, name: id, vmId, disk, createdAtMs: context.clock.nowMs() })
    faultPoint('delta.recorded')
    await lendDisk(join(context.paths.vm(vmId), diskFile(disk)), context.paths.delta(id))
    faultPoint('delta.linked')
    await this.#mark(vmId, disk, () => id)
    faultPoint('delta.lent')
    this.#announce(vmId, disk, 'lent')
    return id
  }

  /** Vms with a disk that stands on a frozen delta, beside the one it came from; also a disk that may be put back. */
  users(id: string): VmRecord[] {
    return this.#context.vms
      .list()
      .filter(({ disks, goingBack }) =>
        [...disks, ...(goingBack?.disks ?? [])].some(({ frozen }) => frozen?.includes(id)),
      )
  }

  /** Keeps a frozen delta while children over it are on their way. */
  hold(id: string): Disposable {
    this.#held.set(id, (this.#held.get(id) ?? 0) + 1)
    return {
      [Symbol.dispose]: () => {
        const count = (this.#held.get(id) ?? 1) - 1
        if (count === 0) this.#held.delete(id)
        else this.#held.set(id, count)
      },
    }
  }

  /** Frozen deltas that nobody reads any more, beside the vm that they came from. */
  unused(): DeltaRecord[] {
    return this.#context.deltas
      .list()
      .filter(({ id, vmId }) => !this.#held.has(id) && !this.#mayBePutBack(id, vmId) && this.users(id).length === 0)
  }

  /** Its vm is going back to a snapshot: which of its disks stays is not known yet. */
  #mayBePutBack(id: string, vmId: string): boolean {
    return this.#context.vms.get(vmId)?.goingBack?.disks.some(({ lent }) => lent === id) === true
  }

  /**
   * Gives a delta that nobody else reads back to its vm, or removes it with the vm gone. Under the vm's lock. Can be
   * repeated after a crash.
   */
  async giveBack({ id, vmId, disk }: DeltaRecord): Promise<void> {
    const { deltas, host, paths, vms } = this.#context
    const vm = vms.get(vmId)
    const lent = vm?.disks[disk]?.lent
    if (vm !== undefined && (lent === undefined || lent === id)) {
      const own = join(paths.vm(vmId), diskFile(disk))
      await returnDisk(own, paths.delta(id), userOf(host, vm.seat))
      faultPoint('delta.returned')
      await this.#mark(vmId, disk, (before) => (before === id ? undefined : before))
      this.#announce(vmId, disk, 'returned')
    }
    await rm(dirname(paths.delta(id)), { recursive: true, force: true })
    await deltas.remove(id)
  }

  /** A lending that was cut short before the vm's record said so: nobody can stand on it. Under the vm's lock. */
  async recover(vmId: string): Promise<void> {
    for (const delta of this.#context.deltas.list()) {
      if (delta.vmId !== vmId || this.#context.vms.find(vmId).disks[delta.disk]?.lent === delta.id) continue
      if (this.users(delta.id).length === 0) await this.giveBack(delta)
    }
  }

  /** A vm has collapsed what it had lent: what it was lent as is no longer its own. Under the vm's lock. */
  async part(vmId: string, disk: number): Promise<void> {
    await this.#mark(vmId, disk, () => undefined)
    this.#announce(vmId, disk, 'returned')
  }

  /** A vm's disk stands on its base again. Under the vm's lock. */
  async collapsed(vmId: string, disk: number): Promise<void> {
    await this.#change(vmId, disk, ({ frozen: _, ...rest }) => rest)
    this.#announce(vmId, disk, 'collapsed')
  }

  #announce(vmId: string, disk: number, state: 'lent' | 'returned' | 'collapsed'): void {
    const { name } = this.#context.vms.find(vmId)
    this.#context.events.emit({ type: 'vm.disks', resource: { kind: 'vm', id: vmId, name }, data: { disk, state } })
  }

  async #mark(vmId: string, disk: number, lentAs: (before: string | undefined) => string | undefined): Promise<void> {
    await this.#change(vmId, disk, ({ lent, ...rest }) => {
      const after = lentAs(lent)
      return after === undefined ? rest : { ...rest, lent: after }
    })
  }

  async #change(
    vmId: string,
    disk: number,
    change: (record: VmRecord['disks'][number]) => VmRecord['disks'][number],
  ): Promise<void> {
    await this.#context.vms.update(vmId, ({ disks }) => ({
      disks: disks.map((record, index) => (index === disk ? change(record) : record)),
    }))
  }
}
