import type { ForkedChild, ForkRequestInput, ForkResult } from '../api/fork.ts'
import type { VmLayers } from '../api/layers.ts'
import type { Port, PortPublish } from '../api/port.ts'
import type { Snapshot as SnapshotInfo } from '../api/snapshot.ts'
import type { VmStats } from '../api/stats.ts'
import type { Vm as VmInfo } from '../api/vm.ts'
import type { VmCloneInput, VmCreateInput, VmPause, VmStop, VmUpdateInput } from '../api/vm-create.ts'
import { type ActionOptions, act, actAtOnce } from './action.ts'
import { type CallOptions, split } from './call-options.ts'
import { Commands } from './commands.ts'
import { connect, type RametOptions } from './connect.ts'
import { ForkError, localError, RametApiError } from './errors.ts'
import { Files } from './files.ts'
import { Pty } from './pty.ts'
import { Snapshot, type SnapshotOptions } from './snapshot.ts'
import { type ApiRequest, path, type Transport } from './transport.ts'

/** Options of a fork: those of the wire, and how to wait. */
export type ForkOptions = Omit<ForkRequestInput, 'atomic'> & ActionOptions & { ttlMs?: number }

/** What a fork made, and how: see {@link Vm.forkReport}. */
export type ForkReport = Omit<ForkResult, 'results'> & {
  /** One per child, in order: the child, or why it was not made. */
  children: (Vm | ForkError)[]
}

/** Options of {@link Vm.create}: of an image that is booted, or a template that is forked. */
export type VmCreateOptions = (
  | (Omit<VmCreateInput, 'image'> & { image: string; template?: never })
  | (Omit<ForkRequestInput, 'atomic' | 'count' | 'names' | 'namePrefix'> & {
      template: string
      image?: never
      name?: string
    })
) &
  ActionOptions & { ttlMs?: number }

/** Options of {@link Vm.logs}. */
export interface LogsOptions extends CallOptions {
  /** Only the last lines, this many. */
  tail?: number
  /** Go on with what comes, until the vm is removed or the signal aborts. */
  follow?: boolean
}

/**
 * A virtual machine: boots from an image, or is forked from a template or another vm.
 *
 * `await using` removes it at the end of the block, whatever happens in it.
 *
 * @example
 * ```ts
 * import { Vm } from 'ramet'
 * await using vm = await Vm.create({ image: 'micro' })
 * await vm.files.write('/tmp/name', 'world')
 * const { stdout } = await vm.commands.run('echo hello $(cat /tmp/name)')
 * console.log(stdout, await vm.getHost(8080))
 * ```
 */
export class Vm implements AsyncDisposable {
  readonly #transport: Transport
  #info: VmInfo
  /** Runs commands. */
  readonly commands: Commands
  /** Reads and writes files. */
  readonly files: Files
  /** Opens terminals. */
  readonly pty: Pty

  /** @internal */
  constructor(transport: Transport, info: VmInfo) {
    this.#transport = transport
    this.#info = info
    this.commands = new Commands(transport, info.id)
    this.files = new Files(transport, info.id)
    this.pty = new Pty(this.commands)
  }

  /**
   * Creates a vm and waits until its workload can run. From an `image` it is booted, from a `template` forked.
   *
   * @throws RametApiError `IMAGE_NOT_FOUND`, `TEMPLATE_NOT_FOUND`, `NAME_TAKEN`, `NO_CAPACITY`, `GUEST_PANIC`, `TIMEOUT`
   */
  static async create(options: VmCreateOptions, connection: RametOptions = {}): Promise<Vm> {
    return await createVm(connect(connection), options)
  }

  /** A vm by id or name, made to run: a paused one is resumed, a stopped one started. @throws RametApiError `VM_NOT_FOUND` */
  static async connect(ref: string, connection: RametOptions = {}): Promise<Vm> {
    const transport = connect(connection)
    const vm = new Vm(transport, await transport.json<VmInfo>({ path: path`/v1/vms/${ref}` }))
    if (vm.state === 'paused') await vm.resume()
    else if (vm.state === 'stopped' || vm.state === 'created') await vm.start()
    return vm
  }

  get id(): string {
    return this.#info.id
  }

  get name(): string {
    return this.#info.name
  }

  /** State as it was when last looked at; see {@link Vm.refresh}. */
  get state(): VmInfo['state'] {
    return this.#info.state
  }

  /** Everything that was known of it when last looked at. */
  get info(): VmInfo {
    return this.#info
  }

  /** What `JSON.stringify` gives: {@link Vm.info}. */
  toJSON(): VmInfo {
    return this.#info
  }

  /** Looks again. @throws RametApiError `VM_NOT_FOUND` */
  async refresh(options: CallOptions = {}): Promise<VmInfo> {
    this.#info = await this.#transport.json<VmInfo>({ path: this.#path(), signal: options.signal })
    return this.#info
  }

  /** Changes name, labels, environment, time to live, when it pauses by itself, restart policy, limits or link. @throws RametApiError */
  async update(changes: VmUpdateInput, options: CallOptions = {}): Promise<VmInfo> {
    const request: ApiRequest = { method: 'PATCH', path: this.#path(), json: changes, signal: options.signal }
    this.#info = await this.#transport.json<VmInfo>(request)
    return this.#info
  }

  /** Removes it by itself after this much time of not being paused, milliseconds; null for never. */
  async setTimeout(timeoutMs: number | null): Promise<void> {
    await this.update({ ttlSeconds: timeoutMs === null ? null : timeoutMs / 1000 })
  }

  /** Boots it. @throws RametApiError `ILLEGAL_STATE`, `NO_CAPACITY` */
  async start(options: ActionOptions = {}): Promise<void> {
    await this.#change('start', undefined, options)
  }

  /** Asks the guest to shut down; with `force` ends it if it does not. @throws RametApiError `ILLEGAL_STATE`, `TIMEOUT` */
  async stop(options: Partial<VmStop> & ActionOptions = {}): Promise<void> {
    const { force, timeoutMs, ...rest } = options
    const how = { ...(force === undefined ? {} : { force }), ...(timeoutMs === undefined ? {} : { timeoutMs }) }
    await this.#change('stop', how, rest)
  }

  /**
   * Stops its execution; the time to live does not run. Its memory stays, or with `toDisk` is written to a file, so
   * that it takes none of the host's.
   *
   * @throws RametApiError `ILLEGAL_STATE`, `NO_SPACE`, `GUEST_UNREACHABLE`
   */
  async pause(options: Partial<VmPause> & ActionOptions = {}): Promise<void> {
    const { toDisk, ...rest } = options
    await this.#change('pause', toDisk === undefined ? undefined : { toDisk }, rest)
  }

  /** Lets it execute again; one on disk runs before its memory has come. @throws RametApiError `ILLEGAL_STATE`, `NO_CAPACITY` */
  async resume(options: ActionOptions = {}): Promise<void> {
    await this.#change('resume', undefined, options)
  }

  /** Ends it at once, as pulling the plug does. @throws RametApiError `ILLEGAL_STATE` */
  async kill(options: ActionOptions = {}): Promise<void> {
    await this.#change('kill', undefined, options)
  }

  /** Removes it and its disks. One that runs is killed first unless `force` is false. @throws RametApiError `IN_USE` */
  async remove(options: ActionOptions & { force?: boolean } = {}): Promise<void> {
    const query = { force: options.force ?? true }
    await act(this.#transport, { method: 'DELETE', path: this.#path(), query }, options)
  }

  /**
   * Forks it as it runs: each child goes on from the same memory, with an identity and disks of its own.
   * One result per child, in order: the child, or why it was not made.
   *
   * @throws RametApiError when the fork as a whole was refused: `ILLEGAL_STATE`, `FROZEN_BY_TEMPLATE`, `NO_CAPACITY`
   */
  async fork(options: ForkOptions = {}): Promise<(Vm | ForkError)[]> {
    return await forkFrom(this.#transport, `${this.#path()}/fork`, options)
  }

  /** The same, all or none: if one child fails the others are removed. @throws RametApiError `FORK_INCOMPLETE` */
  async forkAll(options: ForkOptions = {}): Promise<Vm[]> {
    return await forkAllFrom(this.#transport, `${this.#path()}/fork`, options)
  }

  /**
   * The same as {@link Vm.fork}, with what it cost: how long this vm was paused and its workload frozen, and what a
   * caller must know of children made without a freeze or without the agent.
   *
   * @throws RametApiError as {@link Vm.fork}, and {@link Vm.forkAll} with `atomic`
   */
  async forkReport(options: ForkOptions & { atomic?: boolean } = {}): Promise<ForkReport> {
    return await forkReportFrom(this.#transport, `${this.#path()}/fork`, options)
  }

  /**
   * Saves its memory, devices and disks. It is stopped for a moment, as for a fork, and runs on while its memory is
   * saved; one that is paused stays so.
   *
   * @throws RametApiError `ILLEGAL_STATE`, `NAME_TAKEN`, `NO_SPACE`, `GUEST_UNREACHABLE`, `PAUSE_TOO_LONG`
   */
  async snapshot(options: SnapshotOptions = {}): Promise<Snapshot<Vm>> {
    const { wire, action } = split(options)
    const request: ApiRequest = { method: 'POST', path: `${this.#path()}/snapshots`, json: wire }
    return new Snapshot(this.#transport, await act<SnapshotInfo>(this.#transport, request, action), vmsOf)
  }

  /** Copies its disks into a new vm, which boots instead of going on. @throws RametApiError `NAME_TAKEN`, `NO_SPACE` */
  async clone(options: VmCloneInput & ActionOptions = {}): Promise<Vm> {
    const { wire, action } = split(options)
    const request: ApiRequest = { method: 'POST', path: `${this.#path()}/clone`, json: wire }
    return new Vm(this.#transport, await act<VmInfo>(this.#transport, request, action))
  }

  /** Makes a port of the guest reachable on this host's loopback. @throws RametApiError `IN_USE`, `ILLEGAL_STATE` */
  async publish(port: Omit<PortPublish, 'hostAddress'> & { hostAddress?: string } & CallOptions): Promise<Port> {
    const { signal, ...json } = port
    return await this.#transport.json<Port>({ method: 'POST', path: `${this.#path()}/ports`, json, signal })
  }

  /** Takes back a published port. @throws RametApiError `NOT_FOUND` */
  async unpublish(guestPort: number, options: CallOptions = {}): Promise<void> {
    const request = { path: `${this.#path()}/ports/${guestPort}`, signal: options.signal }
    await this.#transport.json({ method: 'DELETE', ...request })
  }

  /** The published ports. @throws RametApiError `VM_NOT_FOUND` */
  async ports(options: CallOptions = {}): Promise<Port[]> {
    const request = { path: `${this.#path()}/ports`, signal: options.signal }
    return (await this.#transport.json<{ items: Port[] }>(request)).items
  }

  /** `host:port` at which a port of the guest is reached; publishes it if it is not. @throws RametApiError `ILLEGAL_STATE` */
  async getHost(guestPort: number, options: CallOptions = {}): Promise<string> {
    const known = (await this.ports(options)).find((port) => port.guestPort === guestPort)
    const { hostAddress, hostPort } = known ?? (await this.publish({ guestPort, ...options }))
    return hostAddress.includes(':') ? `[${hostAddress}]:${hostPort}` : `${hostAddress}:${hostPort}`
  }

  /** What it uses: processor, memory private and shared, disks. @throws RametApiError `VM_NOT_FOUND` */
  async stats(options: CallOptions = {}): Promise<VmStats> {
    return await this.#transport.json<VmStats>({ path: `${this.#path()}/stats`, signal: options.signal })
  }

  /** What its memory and its disks stand on, from its own delta down, and who else uses each. @throws RametApiError `VM_NOT_FOUND` */
  async layers(options: CallOptions = {}): Promise<VmLayers> {
    return await this.#transport.json<VmLayers>({ path: `${this.#path()}/layers`, signal: options.signal })
  }

  /** Its console, as bytes. @throws RametApiError `VM_NOT_FOUND` */
  async logs(options: LogsOptions = {}): Promise<AsyncIterable<Uint8Array>> {
    const query = { tail: options.tail, follow: options.follow ?? false }
    return await this.#transport.stream({ path: `${this.#path()}/console`, query, signal: options.signal })
  }

  /** Removes it, as `await using` does. One that is gone already is no error. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.remove({ force: true })
    } catch (error) {
      if (!(error instanceof RametApiError && error.code === 'VM_NOT_FOUND')) throw error
    }
  }

  #path(): string {
    return path`/v1/vms/${this.#info.id}`
  }

  async #change(verb: string, json: unknown, options: ActionOptions): Promise<void> {
    const request: ApiRequest = { method: 'POST', path: `${this.#path()}/${verb}`, json }
    this.#info = await act<VmInfo>(this.#transport, request, options)
  }
}

/** @internal */
export async function createVm(transport: Transport, options: VmCreateOptions): Promise<Vm> {
  if (options.template !== undefined) {
    const { template, name, ...rest } = options
    const names = name === undefined ? {} : { names: [name] }
    const [child] = await forkFrom(transport, path`/v1/templates/${template}/fork`, { ...rest, ...names, count: 1 })
    if (child instanceof Vm) return child
    throw child ?? localError('INTERNAL', 'a fork of one child answered none')
  }
  const { wire, action } = split(options)
  return new Vm(transport, await act<VmInfo>(transport, { method: 'POST', path: '/v1/vms', json: wire }, action))
}

/** @internal */
export async function forkFrom(
  transport: Transport,
  forkPath: string,
  options: ForkOptions,
): Promise<(Vm | ForkError)[]> {
  return (await forkReportFrom(transport, forkPath, options)).children
}

/** @internal */
export async function forkReportFrom(
  transport: Transport,
  forkPath: string,
  options: ForkOptions & { atomic?: boolean },
): Promise<ForkReport> {
  const { results, ...report } = await forkRaw(transport, forkPath, options)
  return { ...report, children: vmsOf(transport, results) }
}

/** What was made, or why not. @internal */
export function vmsOf(transport: Transport, results: readonly ForkedChild[]): (Vm | ForkError)[] {
  return results.map((child) => (child.ok ? new Vm(transport, child.vm) : new ForkError(child.name, child.error)))
}

/** @internal */
export async function forkAllFrom(transport: Transport, forkPath: string, options: ForkOptions): Promise<Vm[]> {
  const children = await forkFrom(transport, forkPath, { ...options, atomic: true } as ForkOptions)
  return children.map((child) => {
    if (child instanceof Vm) return child
    throw child
  })
}

/** The fork as the wire has it, timings included. @internal */
export async function forkRaw(
  transport: Transport,
  forkPath: string,
  options: ForkOptions & { atomic?: boolean },
): Promise<ForkResult> {
  const { wire, action } = split(options)
  const request: ApiRequest = { method: 'POST', path: forkPath, json: wire }
  // Whoever wants to be told of the stages needs the operation while it is under way.
  if (action.onProgress !== undefined) return await act<ForkResult>(transport, request, action)
  return await actAtOnce<ForkResult>(transport, request, action)
}
