import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { VmState } from '../../api/vm.ts'
import { standOn } from '../../disk/stand-on.ts'
import { collapseRunning, collapseStopped } from '../../fork/collapse.ts'
import { diskFile } from '../../fork/disk-file.ts'
import { mergeDisks, mergeStopped } from '../../fork/disk-point.ts'
import { asRametError } from '../../shared/errors.ts'
import { faultPoint } from '../../shared/fault.ts'
import { limits } from '../../shared/limits.ts'
import type { EngineContext } from '../context.ts'
import type { DeltaRecord, VmRecord } from '../records.ts'
import type { Runtimes } from '../vm/runtimes.ts'
import { diskPlans, userOf } from '../vm/vm-plan.ts'
import type { Deltas } from './deltas.ts'

/** States in which nothing but this works on a vm's disks, and the guest's QEMU can. */
const runningStates: ReadonlySet<VmState> = new Set(['running', 'paused'])
const stoppedStates: ReadonlySet<VmState> = new Set(['created', 'stopped', 'failed', 'suspended'])

/**
 * Brings disks to rest in the background, where each is a delta over its base: what stands on a frozen delta
 * is collapsed; a frozen delta that nobody reads any more goes back to its vm, which commits into it what it
 * wrote meanwhile. All of it gives way to any action on the vm, and is taken up again after it, also by the
 * next daemon (docs/decisions/0042).
 */
export class Settling {
  readonly #context: EngineContext
  readonly #runtimes: Runtimes
  readonly #deltas: Deltas
  readonly #queue = new Set<string>()
  readonly #active = new Set<Promise<void>>()
  /** frozen deltas whose vm is gone, being removed */
  readonly #removals = new Map<string, Promise<void>>()
  #retry: NodeJS.Timeout | undefined
  #closed = false

  constructor(context: EngineContext, runtimes: Runtimes, deltas: Deltas) {
    this.#context = context
    this.#runtimes = runtimes
    this.#deltas = deltas
  }

  /** Looks at all vms and frozen deltas. To be called when one of them may have something to do by now. */
  schedule(): void {
    this.#enqueueReturns()
    for (const vm of this.#context.vms.list()) if (this.#isUnsettled(vm)) this.#queue.add(vm.id)
    this.#next()
  }

  /** Resolves when nothing is under way or about to be; what has failed may be waiting to be tried again. */
  async idle(): Promise<void> {
    while (this.#active.size + this.#removals.size > 0) await this.#ended()
  }

  /** Nothing more is begun, and what is under way gives way: the next daemon takes it up again. */
  async stop(): Promise<void> {
    this.#closed = true
    this.#queue.clear()
    clearTimeout(this.#retry)
    this.#runtimes.interrupt()
    await this.#ended()
  }

  async #ended(): Promise<void> {
    await Promise.all([...this.#active, ...this.#removals.values()])
  }

  /**
   * Brings the disks of a vm that does not run to a state in which it can start or be copied: at most one frozen
   * delta under its own. Under the vm's lock.
   *
   * @throws RametError `NO_SPACE`, `IMAGE_INVALID`; the signal's reason when aborted
   */
  async settleStopped(vm: VmRecord, signal?: AbortSignal): Promise<void> {
    await this.#takeBack(vm.id)
    const dir = this.#context.paths.vm(vm.id)
    const user = userOf(this.#context.host, vm.seat)
    const plans = diskPlans(this.#context.paths, vm.disks)
    for (const [index, { lent, frozen }] of this.#context.vms.find(vm.id).disks.entries()) {
      const overPath = this.#frozenPath(frozen)
      if (overPath !== undefined) await standOn(join(dir, diskFile(index)), overPath)
      await mergeStopped(dir, index, lent === undefined ? 0 : 1, { user, signal })
      if (lent === undefined) continue
      // Others still read what was its own: it takes a copy of it, rather than wait for them.
      const basePath = plans[index]?.basePath
      if (existsSync(join(dir, diskFile(index, 1))))
        await collapseStopped(dir, { index, level: 1, overPath: join(dir, diskFile(index)), basePath, user, signal })
      await this.#deltas.part(vm.id, index)
    }
  }

  /** As `settleStopped`, and no frozen delta is left. Under the vm's lock. */
  async collapseStopped(vm: VmRecord, signal?: AbortSignal): Promise<void> {
    await this.settleStopped(vm, signal)
    const dir = this.#context.paths.vm(vm.id)
    const user = userOf(this.#context.host, vm.seat)
    const plans = diskPlans(this.#context.paths, vm.disks)
    for (const [index, { frozen }] of vm.disks.entries()) {
      const overPath = this.#frozenPath(frozen)
      if (overPath === undefined) continue
      await collapseStopped(dir, { index, overPath, basePath: plans[index]?.basePath, user, signal })
      faultPoint('collapse.done')
      await this.#deltas.collapsed(vm.id, index)
    }
  }

  #frozenPath(frozen: readonly string[] | undefined): string | undefined {
    const [nearest] = frozen ?? []
    return nearest === undefined ? undefined : this.#context.paths.delta(nearest)
  }

  /** Takes back what it has lent, as far as nobody reads it. Under the vm's lock. */
  async #takeBack(vmId: string): Promise<void> {
    for (const delta of this.#deltas.unused()) if (delta.vmId === vmId) await this.#deltas.giveBack(delta)
  }

  #enqueueReturns(): void {
    for (const delta of this.#deltas.unused()) {
      if (this.#context.vms.get(delta.vmId) !== undefined) this.#queue.add(delta.vmId)
      else this.#remove(delta)
    }
  }

  /** Nobody has a lock for it: it is removed once, whoever looks meanwhile. */
  #remove(delta: DeltaRecord): void {
    if (this.#closed || this.#removals.has(delta.id)) return
    const removal = this.#deltas
      .giveBack(delta)
      .catch((error: unknown) => this.#putOff(delta.id, error))
      .finally(() => this.#removals.delete(delta.id))
    this.#removals.set(delta.id, removal)
  }

  #isUnsettled(vm: VmRecord): boolean {
    if (vm.disks.some(({ frozen }) => frozen !== undefined)) return true
    const dir = this.#context.paths.vm(vm.id)
    return floorsOf(vm).some((floor, index) => existsSync(join(dir, diskFile(index, floor + 1))))
  }

  #next(): void {
    for (const vmId of this.#queue) {
      if (this.#closed || this.#active.size >= limits.diskCollapseCount) return
      this.#queue.delete(vmId)
      const work = this.#runtimes
        .inBackground(vmId, (signal) => this.#settle(vmId, signal))
        .catch((error: unknown) => this.#putOff(vmId, error))
        .finally(() => {
          this.#active.delete(work)
          this.#next()
        })
      this.#active.add(work)
    }
  }

  async #settle(vmId: string, signal: AbortSignal): Promise<void> {
    // Nothing tells one that waited for its turn that all shall end.
    if (this.#closed) return
    signal.throwIfAborted()
    await this.#takeBack(vmId)
    const vm = this.#context.vms.get(vmId)
    if (vm === undefined) return
    if (stoppedStates.has(vm.state) && vm.process === undefined) await this.#settleResting(vm, signal)
    if (runningStates.has(vm.state)) await this.#settleRunning(vm, signal)
    // Whoever lent what was collapsed may have it back now. Not all that is unsettled: what cannot be settled yet
    // would be looked at in turns for ever.
    this.#enqueueReturns()
  }

  async #settleResting(vm: VmRecord, signal: AbortSignal): Promise<void> {
    // What it has lent comes back by itself; a copy is made only when it is to start first.
    if (vm.disks.every(({ lent }) => lent === undefined)) await this.collapseStopped(vm, signal)
  }

  async #settleRunning(vm: VmRecord, signal: AbortSignal): Promise<void> {
    const qemu = this.#runtimes.get(vm.id)?.qemu
    if (qemu === undefined) return
    const plans = diskPlans(this.#context.paths, vm.disks)
    await mergeDisks(qemu, floorsOf(vm), signal)
    for (const [index, { frozen }] of vm.disks.entries()) {
      if (frozen === undefined) continue
      faultPoint('collapse.begun')
      const { collapseBytesPerSecond: bytesPerSecond } = this.#context.settings
      await collapseRunning(qemu, { index, basePath: plans[index]?.basePath, bytesPerSecond, signal })
      faultPoint('collapse.done')
      await this.#deltas.collapsed(vm.id, index)
    }
  }

  /** Work that gave way is taken up after the action that it gave way to; work that failed, later. */
  #putOff(vmId: string, error: unknown): void {
    if (this.#closed) return
    if (asRametError(error).code === 'CANCELLED') {
      this.#queue.add(vmId)
      return
    }
    this.#complain(vmId, error)
    this.#retry ??= setTimeout(() => {
      this.#retry = undefined
      this.schedule()
    }, limits.diskSettleRetryMs).unref()
  }

  #complain(id: string, error: unknown): void {
    this.#context.log.warn({ id, error: asRametError(error).message }, 'disks could not be brought to rest yet')
  }
}

/** The level at which each disk of a vm shall be. */
export function floorsOf(vm: VmRecord): number[] {
  return vm.disks.map(({ lent }) => (lent === undefined ? 0 : 1))
}
