import { PortForwarder } from '../../agent/port-forwarder.ts'
import type { Port, PortPublish } from '../../api/port.ts'
import { asRametError, RametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import type { EngineContext } from '../context.ts'
import type { Calls } from '../idle/calls.ts'
import type { PortRecord, VmRecord } from '../records.ts'
import type { Runtimes } from '../vm/runtimes.ts'
import { requireAgent } from './agentless.ts'

/** Published guest ports: recorded with the vm, open while it runs, and while it is paused or suspended. */
export class Ports {
  readonly #context: EngineContext
  readonly #runtimes: Runtimes
  readonly #calls: Calls

  constructor(context: EngineContext, runtimes: Runtimes, calls: Calls) {
    this.#context = context
    this.#runtimes = runtimes
    this.#calls = calls
  }

  /** @throws RametError `IN_USE`, `TOO_LARGE`, `PRIVILEGE` */
  publish({ id }: VmRecord, request: PortPublish): Promise<Port> {
    // In turn with what else is done to the vm: a port that is opened while it stops would stay open.
    return this.#runtimes.exclusively(id, () => this.#publish(this.#context.vms.find(id), request))
  }

  async #publish(vm: VmRecord, request: PortPublish): Promise<Port> {
    if (this.#runtimes.get(vm.id) !== undefined) requireAgent(vm, 'publish a port of')
    if (vm.ports.some((port) => port.guestPort === request.guestPort))
      throw new RametError('IN_USE', { message: `port ${request.guestPort} of ${vm.name} is published already` })
    if (vm.ports.length >= limits.portMaxCount)
      throw new RametError('TOO_LARGE', { message: `a vm publishes at most ${limits.portMaxCount} ports` })
    const port = await this.#open(vm, { ...request, hostPort: request.hostPort ?? 0 })
    await this.#context.vms.update(vm.id, (record) => ({ ports: [...record.ports, port] }))
    this.#tell('vm.port-published', vm, port)
    return port
  }

  /** @throws RametError `NOT_FOUND` */
  unpublish({ id }: VmRecord, guestPort: number): Promise<void> {
    return this.#runtimes.exclusively(id, () => this.#unpublish(this.#context.vms.find(id), guestPort))
  }

  async #unpublish(vm: VmRecord, guestPort: number): Promise<void> {
    const port = vm.ports.find((candidate) => candidate.guestPort === guestPort)
    if (port === undefined)
      throw new RametError('NOT_FOUND', {
        message: `port ${guestPort} of ${vm.name} is not published`,
        remediation: `See \`ramet port ${vm.name}\` for those that are.`,
      })
    await this.#runtimes.openPorts.close(vm.id, guestPort)
    await this.#context.vms.update(vm.id, (record) => ({
      ports: record.ports.filter((candidate) => candidate.guestPort !== guestPort),
    }))
    this.#tell('vm.port-unpublished', vm, port)
  }

  /**
   * Opens all recorded ports of a vm that has just come to run, or is suspended, unless they are. One that cannot be opened again (somebody
   * else has it by now) gets another host port, and one that cannot be opened at all stays recorded only,
   * since the vm itself is well. The first time, a host port that was asked for is had or nothing is.
   *
   * @throws RametError `IN_USE`, `INVALID_ARGUMENT`, only the first time
   */
  async publishAll(vm: VmRecord, time: 'first' | 'again'): Promise<void> {
    if (vm.ports.length === 0) return
    const opened: PortRecord[] = []
    for (const port of vm.ports) {
      try {
        opened.push(await this.#open(vm, port))
      } catch (error) {
        if (time === 'first' && port.hostPort !== 0) throw error
        this.#context.log.warn({ vm: vm.name, port, error: asRametError(error).message }, 'port taken; using another')
        opened.push(await this.#openElsewhere(vm, port))
      }
    }
    await this.#context.vms.update(vm.id, { ports: opened })
  }

  async #openElsewhere(vm: VmRecord, port: PortRecord): Promise<PortRecord> {
    try {
      return await this.#open(vm, { ...port, hostPort: 0 })
    } catch (error) {
      this.#context.log.error({ vm: vm.name, port, error: asRametError(error).message }, 'port not published')
      return port
    }
  }

  async #open(vm: VmRecord, port: PortRecord): Promise<PortRecord> {
    const { openPorts } = this.#runtimes
    // Recorded only: opened when the vm starts.
    if (this.#runtimes.get(vm.id) === undefined && vm.state !== 'suspended') return port
    if (openPorts.get(vm.id, port.guestPort) !== undefined) return port
    const forwarder = await PortForwarder.listen({
      hostAddress: port.hostAddress,
      hostPort: port.hostPort,
      guestPort: port.guestPort,
      begin: () => this.#calls.begin(vm),
      session: () => this.#runtimes.get(vm.id)?.guest.openSession,
      log: this.#context.log,
    })
    openPorts.add(vm.id, forwarder)
    return { guestPort: port.guestPort, hostPort: forwarder.hostPort, hostAddress: port.hostAddress }
  }

  #tell(type: 'vm.port-published' | 'vm.port-unpublished', vm: VmRecord, port: PortRecord): void {
    this.#context.events.emit({ type, resource: { kind: 'vm', id: vm.id, name: vm.name }, data: { ...port } })
  }
}
