import { join } from 'node:path'
import type { AgentSession } from '../../agent/session.ts'
import { machineFiles } from '../../qemu/machine.ts'
import type { QemuProcess } from '../../qemu/process.ts'
import { RametError } from '../../shared/errors.ts'
import type { EngineContext } from '../context.ts'
import { requireAgent } from '../guest/agentless.ts'
import { Guest } from '../guest/guest.ts'
import { type IdentityTools, identify } from '../guest/identify.ts'
import { OpenPorts } from '../guest/open-ports.ts'
import { Mutex } from '../mutex.ts'
import type { VmRecord } from '../records.ts'
import { illegal, reachableStates } from '../state.ts'
import { Uses } from '../uses.ts'
import { ConsoleLog } from './console.ts'
import { type GuestEnd, VmRuntime } from './vm-runtime.ts'

/** Called once for each runtime, when its guest has come to an end by whatever way. */
export type EndListener = (vmId: string, runtime: VmRuntime, end: GuestEnd) => void

/** Called whenever QEMU has stopped a guest since the host has no room for what it writes. */
export type StallListener = (vmId: string, runtime: VmRuntime) => void

const interrupted = (vmId: string) => new RametError('CANCELLED', { message: `something is to be done with ${vmId}` })

/** What runs in this daemon's care, by vm. */
export class Runtimes {
  readonly openPorts = new OpenPorts()
  readonly uses = new Uses()
  readonly #context: EngineContext
  readonly #identity: IdentityTools
  readonly #runtimes = new Map<string, VmRuntime>()
  readonly #consoles = new Map<string, ConsoleLog>()
  readonly #locks = new Map<string, Mutex>()
  /** what is done on a vm while nobody else wants anything of it */
  readonly #background = new Map<string, AbortController>()
  readonly #waiting = new Map<string, number>()
  #onEnd: EndListener = () => {}
  #onStall: StallListener = () => {}

  constructor(context: EngineContext, identity: IdentityTools) {
    this.#context = context
    this.#identity = identity
  }

  set onEnd(listener: EndListener) {
    this.#onEnd = listener
  }

  set onStall(listener: StallListener) {
    this.#onStall = listener
  }

  /** Takes a QEMU under care; its guest need not run yet. */
  add(vm: VmRecord, qemu: QemuProcess, guest: Guest = this.guestOf(vm.id, qemu)): VmRuntime {
    const runtime = new VmRuntime({ vmId: vm.id, qemu, guest, console: this.consoleOf(vm.id) })
    this.#runtimes.set(vm.id, runtime)
    qemu.qmp.onEvent((event) => {
      if (event.name === 'RESET') guest.reset()
      if (event.name === 'BLOCK_IO_ERROR' && event.data.action === 'stop') this.#onStall(vm.id, runtime)
    })
    void runtime.ended.then((end) => {
      if (this.#runtimes.get(vm.id) === runtime) this.#onEnd(vm.id, runtime, end)
    })
    return runtime
  }

  guestOf(vmId: string, qemu: Pick<QemuProcess, 'dir' | 'identity'>): Guest {
    return new Guest({
      socketPath: join(qemu.dir, machineFiles.agent),
      qemu: qemu.identity,
      vmName: () => this.#context.vms.get(vmId)?.name ?? vmId,
      clock: this.#context.clock,
      log: this.#context.log,
      prepare: (session) => this.#prepare(vmId, session),
    })
  }

  consoleOf(vmId: string): ConsoleLog {
    const log = this.#consoles.get(vmId) ?? new ConsoleLog(join(this.#context.paths.consolesDir, vmId))
    this.#consoles.set(vmId, log)
    return log
  }

  get(vmId: string): VmRuntime | undefined {
    return this.#runtimes.get(vmId)
  }

  list(): VmRuntime[] {
    return [...this.#runtimes.values()]
  }

  /**
   * Lets go of a runtime: closes link and ports. The caller has ended, or goes on to end, its QEMU.
   *
   * @param ports whether its ports stay open, for those who call it while it is suspended
   */
  async drop(vmId: string, ports: 'close' | 'keep' = 'close'): Promise<void> {
    const runtime = this.#runtimes.get(vmId)
    this.#runtimes.delete(vmId)
    runtime?.close()
    if (ports === 'close') await this.openPorts.closeAllOf(vmId)
  }

  /** Lets go of everything in this daemon: vms run on. */
  async release(): Promise<void> {
    for (const runtime of this.#runtimes.values()) runtime.release()
    await this.openPorts.closeAll()
  }

  /** One action at a time on each vm, which is in use until all that wait have had their turn. */
  async exclusively<T>(vmId: string, action: () => Promise<T>): Promise<T> {
    using _ = this.uses.hold(vmId)
    return await this.#inTurn(vmId, action)
  }

  #inTurn<T>(vmId: string, action: () => Promise<T>): Promise<T> {
    this.#waiting.set(vmId, (this.#waiting.get(vmId) ?? 0) + 1)
    this.#background.get(vmId)?.abort(interrupted(vmId))
    return this.#lock(vmId).run(() => {
      const waiting = (this.#waiting.get(vmId) ?? 1) - 1
      if (waiting === 0) this.#waiting.delete(vmId)
      else this.#waiting.set(vmId, waiting)
      return action()
    })
  }

  /**
   * Work that gives way: its signal is aborted (`CANCELLED`) as soon as an action on that vm waits for its turn.
   * It must end soon then, in a state in which the action can begin.
   */
  inBackground<T>(vmId: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return this.#lock(vmId).run(async () => {
      const controller = new AbortController()
      if (this.#waiting.has(vmId)) controller.abort(interrupted(vmId))
      this.#background.set(vmId, controller)
      try {
        return await work(controller.signal)
      } finally {
        this.#background.delete(vmId)
      }
    })
  }

  /** All work in the background gives way now. */
  interrupt(): void {
    for (const [vmId, controller] of this.#background) controller.abort(interrupted(vmId))
  }

  #lock(vmId: string): Mutex {
    const lock = this.#locks.get(vmId) ?? new Mutex()
    this.#locks.set(vmId, lock)
    return lock
  }

  forget(vmId: string): void {
    this.#locks.delete(vmId)
    this.#consoles.delete(vmId)
  }

  /** The runtime of a vm whose agent can be asked. @throws RametError `ILLEGAL_STATE`, `GUEST_UNREACHABLE` */
  reachable(vm: VmRecord, verb: string): VmRuntime {
    const runtime = this.#runtimes.get(vm.id)
    if (runtime === undefined || !reachableStates.has(vm.state)) throw illegal(vm.name, vm.state, verb)
    requireAgent(vm, verb)
    return runtime
  }

  /** The agent session of a vm. @throws RametError `ILLEGAL_STATE`, `GUEST_UNREACHABLE` */
  session(vm: VmRecord, verb: string, signal?: AbortSignal): Promise<AgentSession> {
    return this.reachable(vm, verb).guest.session(signal)
  }

  /** A guest that rebooted, or whose daemon died on the way, has not the identity that its vm has. */
  async #prepare(vmId: string, session: AgentSession): Promise<void> {
    const vm = this.#context.vms.get(vmId)
    if (vm === undefined || session.welcome.generation === vm.generation) return
    await identify(this.#context, this.#identity, vm, session)
  }
}
