import type { Event } from '../api/event.ts'
import type { DoctorReport, HostInfo, Version } from '../api/host.ts'
import type { HostStats } from '../api/host-stats.ts'
import type { Tree } from '../api/tree.ts'
import type { CallOptions } from './call-options.ts'
import { connect, type RametOptions } from './connect.ts'
import { type EventsOptions, followEvents } from './events.ts'
import { Images } from './images.ts'
import { Operations } from './operations.ts'
import { Snapshots } from './snapshots.ts'
import { Templates } from './templates.ts'
import type { Transport } from './transport.ts'
import { Vms } from './vms.ts'

/**
 * A Ramet daemon. Without options it is the one on this machine, over its unix socket.
 *
 * @example
 * ```ts
 * import { Ramet } from 'ramet'
 * const ramet = new Ramet()
 * for (const vm of await ramet.vms.list()) console.log(vm.name, vm.state)
 * ```
 */
export class Ramet {
  readonly #transport: Transport
  readonly vms: Vms
  readonly templates: Templates
  readonly snapshots: Snapshots
  readonly images: Images
  readonly operations: Operations

  constructor(options: RametOptions = {}) {
    this.#transport = connect(options)
    this.vms = new Vms(this.#transport)
    this.templates = new Templates(this.#transport)
    this.snapshots = new Snapshots(this.#transport)
    this.images = new Images(this.#transport)
    this.operations = new Operations(this.#transport)
  }

  /**
   * What happens, as it happens, until the signal aborts; over restarts of the daemon too.
   *
   * @throws RametApiError `DAEMON_UNREACHABLE` when it does not come back in a minute
   *
   * @example
   * ```ts
   * import { Ramet } from 'ramet'
   * const soon = AbortSignal.timeout(1000)
   * for await (const event of new Ramet().events({ signal: soon })) console.log(event.type, event.resource.name)
   * ```
   */
  events(options: EventsOptions = {}): AsyncIterable<Event> {
    return followEvents(this.#transport, options)
  }

  /** The host and what it has left. @throws RametApiError */
  async host(options: CallOptions = {}): Promise<HostInfo> {
    return await this.#transport.json<HostInfo>({ path: '/v1/host', signal: options.signal })
  }

  /** Memory that vms can have, and what is held in memory that is free at the same time. @throws RametApiError */
  async hostStats(options: CallOptions = {}): Promise<HostStats> {
    return await this.#transport.json<HostStats>({ path: '/v1/host/stats', signal: options.signal })
  }

  /** What is slow or missing on the host, and the remedy. @throws RametApiError */
  async doctor(options: CallOptions = {}): Promise<DoctorReport> {
    return await this.#transport.json<DoctorReport>({ path: '/v1/host/doctor', signal: options.signal })
  }

  /** What came from what: everything, or the ancestors and descendants of one. @throws RametApiError `NOT_FOUND` */
  async tree(options: CallOptions & { of?: string } = {}): Promise<Tree> {
    return await this.#transport.json<Tree>({ path: '/v1/tree', query: { of: options.of }, signal: options.signal })
  }

  /** Who answers, and what it can do. @throws RametApiError `DAEMON_UNREACHABLE` */
  async version(options: CallOptions = {}): Promise<Version> {
    return await this.#transport.json<Version>({ path: '/version', signal: options.signal })
  }
}
