/** The page server's side of its control protocol. */
import { renameSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { availableParallelism } from 'node:os'
import process from 'node:process'
import type { OpportunisticCache } from '../../opportunistic/cache.ts'
import { type Clock, systemClock } from '../../shared/clock.ts'
import { asRametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import type { Log } from '../../shared/log.ts'
import { rametVersion } from '../../shared/version.ts'
import { BlockCache } from './block-cache.ts'
import { BlockStore } from './block-store.ts'
import { giveBack, reportOf } from './cache-report.ts'
import { DecodePool } from './decode-pool.ts'
import { RestoreDesk } from './desk.ts'
import { readLines } from './lines.ts'
import { OpenCheckpoints } from './open-checkpoints.ts'
import {
  type Answer,
  encodeLine,
  idOf,
  type Notice,
  parseRequest,
  protocolVersion,
  type ServerRequest,
  toWireError,
} from './protocol.ts'
import { WarmUps } from './warm-up.ts'

export interface PageServerOptions {
  readonly socketPath: string
  readonly log: Log
  /** for decompressed blocks; the server closes it */
  readonly cache: OpportunisticCache
  readonly clock?: Clock
  /** without a client and an unfinished restore, before `idle` resolves */
  readonly idleMs?: number
}

const progressMs = 1_000

export class PageServer {
  /** Resolves when there has been nothing to do for a while. */
  readonly idle: Promise<void>
  readonly #idle = Promise.withResolvers<void>()
  readonly #options: PageServerOptions
  readonly #server: Server
  readonly #pool: DecodePool
  readonly #blocks: BlockCache
  readonly #desk: RestoreDesk
  readonly #warmUps: WarmUps
  readonly #clients = new Set<Socket>()
  #idleTimer: NodeJS.Timeout | undefined
  #isClosed = false
  readonly #progressTimer: NodeJS.Timeout

  constructor(options: PageServerOptions) {
    this.#options = options
    this.idle = this.#idle.promise
    this.#pool = new DecodePool(Math.max(3, Math.min(availableParallelism(), limits.pageServerWorkerCount)))
    this.#blocks = new BlockCache(options.cache)
    const context = {
      checkpoints: new OpenCheckpoints(this.#blocks),
      blocks: new BlockStore(this.#pool, this.#blocks),
      clock: options.clock ?? systemClock,
      log: options.log,
    }
    this.#desk = new RestoreDesk(context, (notice) => this.#tell(notice))
    this.#warmUps = new WarmUps(context)
    this.#server = createServer((socket) => this.#accept(socket))
    this.#progressTimer = setInterval(() => this.#desk.tellProgress(), progressMs)
  }

  /** Rejects when a thread that decompresses has died: nothing can be served from then on. */
  get broken(): Promise<never> {
    return this.#pool.broken
  }

  get unfinishedCount(): number {
    return this.#desk.unfinishedCount
  }

  /** From then on clients can connect; what a dead server left under the name is replaced. */
  async listen(): Promise<void> {
    const { socketPath } = this.#options
    // Under its name it takes connections from the first moment on.
    const hidden = `${socketPath}.new`
    rmSync(hidden, { force: true })
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(hidden, resolve)
    })
    renameSync(hidden, socketPath)
    this.#lookForWork()
  }

  /** Hangs up on everybody: guests whose memory is missing pause at the next page. */
  async close(): Promise<void> {
    this.#isClosed = true
    clearInterval(this.#progressTimer)
    clearTimeout(this.#idleTimer)
    rmSync(this.#options.socketPath, { force: true })
    this.#server.close()
    for (const client of this.#clients) client.destroy()
    await Promise.all(this.#desk.list().map(({ restoreId }) => this.#desk.drop(restoreId)))
    await this.#warmUps.close()
    await this.#pool[Symbol.asyncDispose]()
    this.#options.cache.close()
  }

  #accept(socket: Socket): void {
    this.#clients.add(socket)
    this.#lookForWork()
    // A client that is gone hears nothing; restores go on.
    socket.on('error', () => {})
    socket.once('close', () => {
      this.#clients.delete(socket)
      this.#lookForWork()
    })
    readLines(socket, (line) => void this.#answer(socket, line))
  }

  async #answer(socket: Socket, line: string): Promise<void> {
    let id = 0
    try {
      const request = parseRequest(line)
      id = request.id
      send(socket, { id, ok: true, ...(await this.#do(request)) })
    } catch (error) {
      send(socket, { id: idOf(line) ?? id, ok: false, error: toWireError(asRametError(error)) })
    }
  }

  async #do(request: ServerRequest): Promise<Omit<Extract<Answer, { ok: true }>, 'id' | 'ok'>> {
    const desk = this.#desk
    switch (request.do) {
      case 'hello':
        return { server: { protocol: protocolVersion, version: rametVersion, pid: process.pid } }
      case 'prepare':
        await this.#warmUps.prepare(request.source)
        return {}
      case 'serve':
        try {
          return { stats: await desk.serve(request.restore) }
        } finally {
          await this.#warmUps.begun(request.restore.digest)
        }
      case 'hurry':
        return { stats: desk.hurry(request.restoreId) }
      case 'mark':
        return { stats: desk.mark(request.restoreId, request.name) }
      case 'list':
        return { restores: desk.list() }
      case 'drop':
        await desk.drop(request.restoreId)
        this.#lookForWork()
        return {}
      case 'cache':
        return { cache: reportOf(this.#options.cache) }
      case 'give-back': {
        this.#blocks.coolDown()
        const gaveBackBytes = await giveBack(this.#options.cache, request.bytes)
        return { gaveBackBytes, cache: reportOf(this.#options.cache) }
      }
    }
  }

  #tell(notice: Notice): void {
    for (const client of this.#clients) send(client, notice)
    this.#lookForWork()
  }

  /** Starts the clock when nobody needs this server, and stops it when somebody does. */
  #lookForWork(): void {
    clearTimeout(this.#idleTimer)
    if (this.#isClosed || this.#clients.size > 0 || this.#desk.unfinishedCount > 0) return
    this.#idleTimer = setTimeout(() => this.#idle.resolve(), this.#options.idleMs ?? limits.pageServerIdleMs)
  }
}

/** A client that does not read is cut off before it costs memory. */
function send(socket: Socket, message: Answer | Notice): void {
  if (socket.destroyed) return
  socket.write(encodeLine(message))
  if (socket.writableLength > limits.pageServerLineBytes) socket.destroy()
}
