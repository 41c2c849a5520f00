import { readStat } from '../../host/process-identity.ts'
import type { Clock } from '../../shared/clock.ts'
import { asRametError } from '../../shared/errors.ts'
import { faultPoint } from '../../shared/fault.ts'
import type { OperationHandle } from '../operations.ts'
import type { EngineParts } from '../parts.ts'
import type { VmRecord } from '../records.ts'
import { pauseVm, resumeVm } from '../vm/vm-actions.ts'
import { vmView } from '../vm/vm-view.ts'
import { idleReason, idleStepOf, resumesOnCall } from './idle-step.ts'
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
    if (signal.aborted || vm === undefined || idleStepOf(vm) === undefined || runtimes.uses.isHeld(vmId)) return
    using _ = calls.announcePause(vmId)
    const target = { kind: 'vm' as const, id: vmId, name: vm.name }
    const action = await context.operations.begin('vm.pause', target, undefined, (handle) =>
      this.#pauseUnlessCalled(vm, AbortSignal.any([signal, handle.signal]), handle),
    )
    await action.done
  }

  async #pauseUnlessCalled(vm: VmRecord, signal: AbortSignal, handle: OperationHandle) {
    const { context } = this.#parts
    signal.throwIfAborted()
    const stateReason = idleReason(vm)
    handle.progress({ stage: 'pausing', message: `${vm.name} is ${stateReason}` })
    const paused = await pauseVm(this.#parts, vm.id, { idlePaused: true, stateReason })
    faultPoint('idle.paused')
    if (signal.aborted) {
      await resumeVm(this.#parts, vm.id)
      throw signal.reason
    }
    context.log.info({ vm: vm.name }, stateReason)
    return vmView(paused)
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
        return vmView(await resumeVm(this.#parts, vmId))
      })
      await action.done
    })
  }
}
