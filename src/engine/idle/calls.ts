import type { EngineContext } from '../context.ts'
import type { VmRecord } from '../records.ts'
import { requireMemory } from '../restore/lost-memory.ts'
import type { Runtimes } from '../vm/runtimes.ts'
import { resumesOnCall } from './idle-step.ts'

/** A call that is under way: its vm is in use until it is disposed of, which may be done more than once. */
export interface Call extends Disposable {
  /** as it is now that it can be called */
  readonly vm: VmRecord
}

/**
 * What comes from outside and needs a guest: commands, files, connections to published ports, forks. While one is
 * under way its vm is not idle; one that meets a vm which paused by itself has it resumed first. A vm that somebody
 * paused is left alone: the call is refused by whatever it needs next.
 */
export class Calls {
  readonly #context: EngineContext
  readonly #runtimes: Runtimes
  /** vms that are about to pause by themselves */
  readonly #pausing = new Set<string>()
  readonly #resuming = new Map<string, Promise<void>>()
  /** resumes a vm that has paused by itself, in its turn; set by whoever can */
  onAsleep: (vmId: string) => Promise<void> = async () => {}

  constructor(context: EngineContext, runtimes: Runtimes) {
    this.#context = context
    this.#runtimes = runtimes
  }

  /**
   * @throws RametError `VM_NOT_FOUND` when it has gone; `CHECKPOINT_DAMAGED` when some of its memory cannot come; what
   *   its resumption failed with
   */
  async begin({ id }: Pick<VmRecord, 'id'>): Promise<Call> {
    const hold = this.#runtimes.uses.hold(id)
    try {
      if (this.#isAsleep(id)) await this.#resume(id)
      const vm = this.#context.vms.find(id)
      requireMemory(vm)
      return { vm, [Symbol.dispose]: () => hold[Symbol.dispose]() }
    } catch (error) {
      hold[Symbol.dispose]()
      throw error
    }
  }

  /**
   * From here on a call waits for its turn, and thereby has the pause give way; before, it was in use. To be called
   * when it has been seen that the vm is not, without a turn of anybody else in between.
   */
  announcePause(vmId: string): Disposable {
    this.#pausing.add(vmId)
    return { [Symbol.dispose]: () => void this.#pausing.delete(vmId) }
  }

  /** Whether it is about to pause by itself. */
  isPausing(vmId: string): boolean {
    return this.#pausing.has(vmId)
  }

  /** Has that pause give way: whoever wants something else of the vm comes first. */
  async interruptPause(vmId: string): Promise<void> {
    await this.#runtimes.exclusively(vmId, async () => {})
  }

  #isAsleep(id: string): boolean {
    const vm = this.#context.vms.get(id)
    return this.#pausing.has(id) || (vm !== undefined && resumesOnCall(vm))
  }

  /** Once, for all that come meanwhile. */
  #resume(id: string): Promise<void> {
    const underway = this.#resuming.get(id)
    if (underway !== undefined) return underway
    const resuming = this.onAsleep(id).finally(() => this.#resuming.delete(id))
    this.#resuming.set(id, resuming)
    return resuming
  }
}
