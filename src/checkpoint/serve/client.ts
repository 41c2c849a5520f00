/** The engine's side of the page server's control protocol. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { asRametError, errnoOf, RametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import type { CacheReport } from './cache-schema.ts'
import { readLines } from './lines.ts'
import {
  type Answer,
  encodeLine,
  fromWireError,
  type Notice,
  parseMessage,
  protocolVersion,
  type RestoreReport,
  type RestoreRequest,
  type RestoreSource,
  type ServerRequest,
} from './protocol.ts'
import type { RestoreStats } from './stats-schema.ts'

/** A request without its id, which the client chooses. */
type Ask = ServerRequest extends infer R ? (R extends { id: number } ? Omit<R, 'id'> : never) : never
type Done = Extract<Answer, { ok: true }>

/** A connection to a page server. Requests may be made at once; none waits for another. */
export class PageServerClient {
  /** Resolves when the connection is over, whoever ended it; never rejects. Restores are then in nobody's hands. */
  readonly closed: Promise<void>
  readonly #socket: Socket
  readonly #waiting = new Map<number, PromiseWithResolvers<Done>>()
  readonly #listeners = new Set<(notice: Notice) => void>()
  #nextId = 1
  #pid = 0

  private constructor(socket: Socket) {
    this.#socket = socket
    this.closed = new Promise((resolve) => socket.once('close', () => resolve()))
    // What ended it is told to those who wait; there is nothing else to do about it.
    socket.on('error', () => {})
    socket.once('close', () => this.#fail())
    readLines(socket, (line) => this.#take(line))
  }

  /**
   * Connects to a server that runs.
   *
   * @returns undefined when none listens there
   * @throws RametError `ILLEGAL_STATE` when it speaks another version of the protocol; errno errors
   */
  static async connect(socketPath: string): Promise<PageServerClient | undefined> {
    const socket = connect(socketPath)
    try {
      await once(socket, 'connect')
    } catch (error) {
      socket.destroy()
      const errno = errnoOf(error)
      if (errno === 'ENOENT' || errno === 'ECONNREFUSED') return undefined
      throw error
    }
    const client = new PageServerClient(socket)
    try {
      await client.#greet()
      return client
    } catch (error) {
      client.close()
      // One that ends just now, since it had nothing to do.
      if (error instanceof RametError && error.details.lost === true) return undefined
      throw error
    }
  }

  /** Of the server. */
  get pid(): number {
    return this.#pid
  }

  /**
   * A restore is about to be asked for: what it is expected to need first is decompressed while its QEMU starts. Only time
   * is lost where this fails, or is left out.
   *
   * @throws RametError `CHECKPOINT_DAMAGED`, `CHECKPOINT_UNFIT`, `NOT_FOUND`, `DAEMON_UNREACHABLE`
   */
  async prepare({ checkpoint, digest, policy, workingSetPath, storeDelayMs }: RestoreSource): Promise<void> {
    await this.#ask({ do: 'prepare', source: { checkpoint, digest, policy, workingSetPath, storeDelayMs } })
  }

  /**
   * Begins a restore, or takes one over.
   *
   * @returns when QEMU was sent everything but memory (its RESUME or `paused` follows), or has said what it has
   * @throws RametError `CHECKPOINT_DAMAGED`, `CHECKPOINT_UNFIT`, `NOT_FOUND`, `BASE_DAMAGED`, `VMM_FAILED`, `NO_CAPACITY`,
   *   `IN_USE` when it serves this restore already; `DAEMON_UNREACHABLE` when the server dies
   */
  async serve(restore: RestoreRequest): Promise<RestoreStats> {
    return statsOf(await this.#ask({ do: 'serve', restore }))
  }

  /**
   * From now on fills at full speed; `completed` tells of the end.
   *
   * @throws RametError `NOT_FOUND`, `DAEMON_UNREACHABLE`
   */
  async hurry(restoreId: string): Promise<RestoreStats> {
    return statsOf(await this.#ask({ do: 'hurry', restoreId }))
  }

  /**
   * Keeps the counters of this moment under a name, in the restore's `stats.marks`.
   *
   * @returns what was counted so far
   * @throws RametError `NOT_FOUND`, `NO_CAPACITY` when it has too many, `DAEMON_UNREACHABLE`
   */
  async mark(restoreId: string, name: string): Promise<RestoreStats> {
    return statsOf(await this.#ask({ do: 'mark', restoreId, name }))
  }

  /** @throws RametError `DAEMON_UNREACHABLE` */
  async list(): Promise<RestoreReport[]> {
    return (await this.#ask({ do: 'list' })).restores ?? []
  }

  /**
   * Ends a restore that nobody needs, or forgets one that is over; nothing happens when there is none.
   *
   * @throws RametError `DAEMON_UNREACHABLE`
   */
  async drop(restoreId: string): Promise<void> {
    await this.#ask({ do: 'drop', restoreId })
  }

  /**
   * How the server's cache of decompressed blocks does.
   *
   * @throws RametError `DAEMON_UNREACHABLE`
   */
  async cache(): Promise<CacheReport> {
    const { cache } = await this.#ask({ do: 'cache' })
    if (cache === undefined) throw withoutFigures()
    return cache
  }

  /**
   * Has the server give memory of its cache back, ahead of somebody who shall not wait while the kernel takes it.
   *
   * @returns bytes given back, some more or less than asked for
   * @throws RametError `DAEMON_UNREACHABLE`
   */
  async giveBack(bytes: number): Promise<number> {
    return (await this.#ask({ do: 'give-back', bytes })).gaveBackBytes ?? 0
  }

  /**
   * Listens to what happens to restores, those of other clients included.
   *
   * @returns ends it
   */
  onNotice(listener: (notice: Notice) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Hangs up. Restores go on. */
  close(): void {
    this.#socket.destroy()
  }

  async #greet(): Promise<void> {
    const { server } = await this.#ask({ do: 'hello' })
    if (server?.protocol !== protocolVersion)
      throw new RametError('ILLEGAL_STATE', {
        message: `the page server that runs (${server?.version}, pid ${server?.pid}) speaks another protocol`,
        remediation: 'Wait until the restores that it serves are complete; it ends then.',
      })
    this.#pid = server.pid
  }

  async #ask(request: Ask): Promise<Done> {
    if (this.#socket.destroyed) throw serverLost()
    const id = this.#nextId++
    const answer = Promise.withResolvers<Done>()
    this.#waiting.set(id, answer)
    const timer = setTimeout(() => answer.reject(tooSlow(request.do)), limits.pageServerRequestTimeoutMs)
    this.#socket.write(encodeLine({ ...request, id }))
    try {
      return await answer.promise
    } finally {
      clearTimeout(timer)
      this.#waiting.delete(id)
    }
  }

  #take(line: string): void {
    try {
      const message = parseMessage(line)
      if ('notice' in message) for (const listener of this.#listeners) listener(message)
      else if (message.ok) this.#waiting.get(message.id)?.resolve(message)
      else this.#waiting.get(message.id)?.reject(fromWireError(message.error))
    } catch (error) {
      this.#socket.destroy(asRametError(error))
    }
  }

  #fail(): void {
    for (const { reject } of this.#waiting.values()) reject(serverLost())
  }
}

function statsOf({ stats }: Done): RestoreStats {
  if (stats === undefined) throw withoutFigures()
  return stats
}

const withoutFigures = () => new RametError('INTERNAL', { message: 'the page server answered without figures' })

const serverLost = () =>
  new RametError('DAEMON_UNREACHABLE', {
    message: 'the page server has ended or hung up',
    remediation: 'Another one is started and takes over what it served.',
    details: { lost: true },
  })

const tooSlow = (what: string) =>
  new RametError('TIMEOUT', { message: `the page server does not answer (${what})`, details: { request: what } })
