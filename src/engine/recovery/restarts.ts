import { asRametError } from '../../shared/errors.ts'
import { newId } from '../../shared/ids.ts'
import { limits } from '../../shared/limits.ts'
import type { EngineParts } from '../parts.ts'
import type { VmRecord } from '../records.ts'
import { next } from '../state.ts'
import { bootVm } from '../vm/vm-boot.ts'
import { vmView } from '../vm/vm-view.ts'
import { restartDelayMs, shallRestart } from './ends.ts'

/** Starts vms again by their restart policies, each time in a row later than the time before. */
export class Restarts {
  readonly #parts: EngineParts
  readonly #delayOf: (restartCount: number) => number
  readonly #stopping = new AbortController()
  /** vms that wait for their turn */
  readonly #pending = new Set<string>()

  /** @param delayOf from how many restarts there were in a row, milliseconds */
  constructor(parts: EngineParts, delayOf: (restartCount: number) => number = restartDelayMs) {
    this.#parts = parts
    this.#delayOf = delayOf
  }

  /** A vm has ended, and its policy says that it shall run. */
  later(vm: VmRecord): void {
    if (this.#pending.has(vm.id) || this.#stopping.signal.aborted) return
    this.#pending.add(vm.id)
    const { log } = this.#parts.context
    this.#restart(vm)
      .catch((error: unknown) => {
        if (this.#stopping.signal.aborted) return
        log.error({ vm: vm.name, error: asRametError(error).message }, 'a vm could not be started again')
      })
      .finally(() => {
        this.#pending.delete(vm.id)
        const current = this.#parts.context.vms.get(vm.id)
        // A start that failed counts like a run that did.
        if (current?.state === 'failed' && shallRestart(current, 'failure')) this.later(current)
      })
  }

  /**
   * After a daemon's start: vms that ended while there was none, and those that were waiting for their turn
   * when the last one ended.
   *
   * @param wasLive ids of vms that ran, or were about to, as far as that daemon knew
   */
  resume(wasLive: ReadonlySet<string>): void {
    for (const vm of this.#parts.context.vms.list()) {
      if (vm.state === 'failed' && shallRestart(vm, 'failure')) this.later(vm)
      if (vm.state === 'stopped' && wasLive.has(vm.id) && shallRestart(vm, 'shutdown')) this.later(vm)
    }
  }

  stop(): void {
    this.#stopping.abort()
  }

  async #restart(vm: VmRecord): Promise<void> {
    const { context, runtimes } = this.#parts
    const ranMs = (vm.stoppedAtMs ?? 0) - (vm.startedAtMs ?? 0)
    // One that ran well for a while has not failed in a row.
    const count = ranMs >= limits.restartResetMs ? 0 : vm.restartCount
    const delayMs = this.#delayOf(count)
    context.log.info({ vm: vm.name, delayMs }, 'starting again by its restart policy')
    await context.clock.sleep(delayMs, this.#stopping.signal)
    const current = context.vms.get(vm.id)
    if (current === undefined || next(current.state, 'start') === undefined) return
    await context.vms.update(vm.id, { restartCount: count + 1 })
    const target = { kind: 'vm' as const, id: vm.id, name: current.name }
    const call = { operationId: newId('op', context.random) }
    const action = await context.operations.begin('vm.start', target, call, (handle) =>
      runtimes.exclusively(vm.id, async () => vmView(await bootVm(this.#parts, vm.id, handle))),
    )
    await action.done
  }
}
