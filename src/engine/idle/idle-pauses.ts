import type { Vm } from '../../api/vm.ts'
import { readStat } from '../../host/process-identity.ts'
import type { Clock } from '../../shared/clock.ts'
import { asRametError } from '../../shared/errors.ts'
import { faultPoint } from '../../shared/fault.ts'
import type { OperationHandle } from '../operations.ts'
import type { EngineParts } from '../parts.ts'
import type { VmRecord } from '../records.ts'
import { resumeSuspended } from '../restore/resume-suspended.ts'
import { suspendVm } from '../restore/suspend.ts'
import { type PauseReason, pauseVm, resumeVm } from '../vm/vm-actions.ts'
import { vmView } from '../vm/vm-view.ts'
import { type IdleStep, idleReason, idleStepOf, resumesOnCall } from './idle-step.ts'
import { IdleTimer } from './idle-timer.ts'

/** Pauses vms that are idle, and resumes them when they are called. */
export class IdlePauses {
  readonly #parts: EngineParts
  readonly #timer: IdleTimer
  readonly #active = new Set<Promise<void>>()

  /** @param clock by which vms become idle */
  constructor(parts: EngineParts, clock: Clock = parts.context.clock) {
    this.#parts = parts
    const { context, runtimes } = parts
    this.#timer = new IdleTimer(clock, runtimes.uses, {
      spanMsOf: (vmId) => {
        const vm = context.vms.get(vmId)
        return vm === undefined ? undefined : idleStepOf(vm)?.afterMs
      },
      cpuMsOf: (vmId) => {
        const pid = runtimes.get(vmId)?.qemu.identity.pid
        return pid === undefined ? undefined : readStat(pid)?.cpuMs
      },
      onIdle: (vmId) => this.#begin(vmId),
    })
    parts.calls.onAsleep = (vmId) => this.#resume(vmId)
  }

  /** A daemon has started: nobody knows when vms were last called, so the time of all of them begins now. */
  start(): void {
    for (const { id } of this.#parts.context.vms.list()) this.#timer.begin(id)
  }

  /** Nothing more is begun; what is under way gives way. */
  async stop(): Promise<void> {
    this.#timer.stop()
    this.#parts.runtimes.interrupt()
    await Promise.all(this.#active)
  }

  #begin(vmId: string): void {
    const { context, runtimes } = this.#parts
    const work = runtimes
      .inBackground(vmId, (signal) => this.#pause(vmId, signal))
      .catch((error: unknown) => {
        const { code, message } = asRametError(error)
        if (code !== 'CANCELLED') context.log.warn({ vmId, error: message }, 'an idle vm could not be paused')
      })
      .finally(() => {
        this.#active.delete(work)
        // What comes next for it: another step, or the same if nothing has come of this one.
        this.#timer.begin(vmId)
      })
    this.#active.add(work)
  }

  /** Under the vm's lock. An operation, so that it is seen like a pause that somebody asked for. */
  async #pause(vmId: string, signal: AbortSignal): Promise<void> {
    const { context, runtimes, calls } = this.#parts
    const vm = context.vms.get(vmId)
    // While it waited for its turn it may have been called, or come to its end.
    const step = vm && idleStepOf(vm)
    if (signal.aborted || step === undefined || vm === undefined || runtimes.uses.isHeld(vmId)) return
    using _ = calls.announcePause(vmId)
    const target = { kind: 'vm' as const, id: vmId, name: vm.name }
    const action = await context.operations.begin('vm.pause', target, undefined, (handle) =>
      this.#pauseUnlessCalled(vm, step.pauseTo, {
        id: handle.id,
        signal: AbortSignal.any([signal, handle.signal]),
        progress: (progress) => handle.progress(progress),
      }),
    )
    await action.done
  }

  async #pauseUnlessCalled(vm: VmRecord, pauseTo: IdleStep['pauseTo'], handle: OperationHandle): Promise<Vm> {
    const { context } = this.#parts
    handle.signal.throwIfAborted()
    const stateReason = idleReason(vm, pauseTo)
    handle.progress({ stage: 'pausing', message: `${vm.name} is ${stateReason}` })
    const because = { idlePaused: true as const, stateReason }
    const paused =
      pauseTo === 'disk'
        ? await suspendVm(this.#parts, vm.id, handle, because)
        : await this.#pauseInMemory(vm.id, because, handle.signal)
    context.log.info({ vm: vm.name }, stateReason)
    return vmView(paused)
  }

  async #pauseInMemory(id: string, because: PauseReason, signal: AbortSignal): Promise<VmRecord> {
    const paused = await pauseVm(this.#parts, id, because)
    faultPoint('idle.paused')
    if (!signal.aborted) return paused
    await resumeVm(this.#parts, id)
    throw signal.reason
  }

  async #resume(vmId: string): Promise<void> {
    const { context, runtimes } = this.#parts
    await runtimes.exclusively(vmId, async () => {
      const vm = context.vms.get(vmId)
      // The pause gave way, or somebody else has resumed it, or ended it.
      if (vm === undefined || !resumesOnCall(vm)) return
      const target = { kind: 'vm' as const, id: vmId, name: vm.name }
      const action = await context.operations.begin('vm.resume', target, undefined, async (handle) => {
        handle.progress({ stage: 'resuming', message: `${vm.name} is called` })
        const isOnDisk = vm.state === 'suspended'
        return vmView(await (isOnDisk ? resumeSuspended(this.#parts, vmId, handle) : resumeVm(this.#parts, vmId)))
      })
      await action.done
    })
  }
}
