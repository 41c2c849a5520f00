import { randomBytes } from 'node:crypto'
import type { CacheReport } from '../../checkpoint/serve/cache-schema.ts'
import type { Notice, RestoreReport, RestoreRequest, RestoreSource } from '../../checkpoint/serve/protocol.ts'
import type { RestoreStats } from '../../checkpoint/serve/stats-schema.ts'
import { emptyStats } from '../../checkpoint/serve/testing/empty-stats.ts'
import { RametError } from '../../shared/errors.ts'
import type { PageServer } from '../restore/page-server.ts'

/** Page servers without a process: what they are asked is kept, and what they say is the test's. */
export class FakePageServers {
  /** every one there was, oldest first */
  readonly all: FakePageServer[] = []
  /** called before a restore is begun or taken over: a test may refuse it, or end the server */
  onServe: (server: FakePageServer, request: RestoreRequest) => Promise<void> | void = () => {}
  /** called before it is answered that a restore is hurried: a test may never let it be */
  onHurry: () => Promise<void> | void = () => {}

  readonly connect = async (): Promise<PageServer> => {
    const server = new FakePageServer(
      (request) => this.onServe(server, request),
      () => this.onHurry(),
    )
    this.all.push(server)
    return server
  }

  get newest(): FakePageServer {
    const server = this.all.at(-1)
    if (server === undefined) throw new TypeError('no page server was asked for')
    return server
  }
}

export class FakePageServer implements PageServer {
  /** of no process */
  readonly pid = 2 ** 22 + (randomBytes(2).readUInt16LE() % 1000)
  readonly prepared: RestoreSource[] = []
  readonly served: RestoreRequest[] = []
  readonly dropped: string[] = []
  readonly marked: string[] = []
  readonly hurried: string[] = []
  /** amounts that it was asked to give back */
  readonly gaveBack: number[] = []
  /** what its cache says of itself */
  report: CacheReport = {
    ...{ kind: 'kernel', heldBytes: 0, freeHeldBytes: 0, capacityBytes: 2 ** 30 },
    ...{ hits: 0, misses: 0, lost: 0, puts: 0, refused: 0, replaced: 0 },
  }
  /** called before it answers how much it gave back */
  onGiveBack: (bytes: number) => Promise<void> | void = () => {}
  readonly closed: Promise<void>
  readonly #closed = Promise.withResolvers<void>()
  readonly #listeners = new Set<(notice: Notice) => void>()
  readonly #onServe: (request: RestoreRequest) => Promise<void> | void
  readonly #onHurry: () => Promise<void> | void
  #isDead = false

  constructor(onServe: (request: RestoreRequest) => Promise<void> | void, onHurry: () => Promise<void> | void) {
    this.#onServe = onServe
    this.#onHurry = onHurry
    this.closed = this.#closed.promise
  }

  async prepare(source: RestoreSource): Promise<void> {
    this.#check()
    this.prepared.push(source)
  }

  async serve(request: RestoreRequest): Promise<RestoreStats> {
    this.#check()
    this.served.push(request)
    await this.#onServe(request)
    this.#check()
    return this.#stats('serving')
  }

  async hurry(restoreId: string): Promise<RestoreStats> {
    this.#check()
    this.hurried.push(restoreId)
    await this.#onHurry()
    return this.#stats('serving')
  }

  async mark(restoreId: string, name: string): Promise<RestoreStats> {
    this.#check()
    this.marked.push(`${restoreId} ${name}`)
    return this.#stats('serving')
  }

  async list(): Promise<RestoreReport[]> {
    this.#check()
    return this.served
      .filter(({ restoreId }) => !this.dropped.includes(restoreId))
      .map(({ restoreId, vmName }) => ({ restoreId, vmName, stats: this.#stats('serving') }))
  }

  async drop(restoreId: string): Promise<void> {
    this.#check()
    this.dropped.push(restoreId)
  }

  async cache(): Promise<CacheReport> {
    this.#check()
    return this.report
  }

  async giveBack(bytes: number): Promise<number> {
    this.#check()
    this.gaveBack.push(bytes)
    await this.onGiveBack(bytes)
    this.#check()
    const freeHeldBytes = Math.max(0, this.report.freeHeldBytes - bytes)
    this.report = { ...this.report, freeHeldBytes, heldBytes: freeHeldBytes }
    return bytes
  }

  onNotice(listener: (notice: Notice) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Tells of what happens to its newest restore. */
  tell(notice: Notice['notice'], stats: Partial<RestoreStats> = {}, problem?: string): void {
    const restoreId = this.served.at(-1)?.restoreId ?? ''
    const state = notice === 'progress' ? 'serving' : notice
    const error = problem && { code: 'CHECKPOINT_DAMAGED' as const, message: problem, remediation: '' }
    for (const listener of this.#listeners)
      listener({ notice, restoreId, stats: { ...this.#stats(state), ...stats }, ...(error ? { error } : {}) })
  }

  /** As its process ends. */
  die(): void {
    this.#isDead = true
    this.#closed.resolve()
  }

  close(): void {
    this.die()
  }

  #check(): void {
    if (!this.#isDead) return
    throw new RametError('DAEMON_UNREACHABLE', { message: 'the page server has ended', details: { lost: true } })
  }

  #stats(state: RestoreStats['state']): RestoreStats {
    return { ...emptyStats, state, neededPages: 100, missingPages: state === 'completed' ? 0 : 50 }
  }
}
