/** All restores of a server: those under way, and those that are over until somebody has noted it. */
import { asRametError, RametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import { type PreparedRestore, prepareRestore, type ServeContext } from './prepare.ts'
import { type Notice, type RestoreReport, type RestoreRequest, toWireError } from './protocol.ts'
import { writeRecord } from './record.ts'
import type { RestoreStats } from './stats-schema.ts'
import { RestoreTally } from './tally.ts'

interface Entry {
  readonly request: RestoreRequest
  readonly tally: RestoreTally
  prepared: PreparedRestore | undefined
  /** settles when it is over and everything is closed */
  ended: Promise<void>
}

export class RestoreDesk {
  readonly #context: ServeContext
  readonly #tell: (notice: Notice) => void
  readonly #entries = new Map<string, Entry>()

  /** @param tell hands a notice to whoever listens */
  constructor(context: ServeContext, tell: (notice: Notice) => void) {
    this.#context = context
    this.#tell = tell
  }

  /** restores that a guest may still wait for */
  get unfinishedCount(): number {
    return [...this.#entries.values()].filter(isUnfinished).length
  }

  /** @throws RametError as `PageServerClient.serve` tells */
  async serve(request: RestoreRequest): Promise<RestoreStats> {
    const { restoreId } = request
    this.#makeRoom(restoreId)
    const tally = new RestoreTally(this.#context.clock)
    const entry: Entry = { request, tally, prepared: undefined, ended: Promise.resolve() }
    this.#entries.set(restoreId, entry)
    try {
      const onFailed = (error: RametError) => this.#failed(entry, error)
      entry.prepared = await prepareRestore(request, tally, this.#context, onFailed)
      // Dropped meanwhile.
      if (this.#entries.get(restoreId) !== entry) throw notFound(restoreId)
      await entry.prepared.restore.begin()
    } catch (error) {
      if (this.#entries.get(restoreId) === entry) this.#entries.delete(restoreId)
      await entry.prepared?.opened.disposeAsync()
      throw error
    }
    this.#log(entry, request.takeOver ? 'takes a restore over' : 'begins a restore')
    entry.ended = this.#run(entry, entry.prepared)
    return tally.stats()
  }

  /** @throws RametError `NOT_FOUND` */
  hurry(restoreId: string): RestoreStats {
    const entry = this.#of(restoreId)
    if (isUnfinished(entry)) entry.prepared?.restore.hurry()
    return entry.tally.stats()
  }

  /** @throws RametError `NOT_FOUND`, `NO_CAPACITY` */
  mark(restoreId: string, name: string): RestoreStats {
    const { tally } = this.#of(restoreId)
    tally.mark(name)
    return tally.stats()
  }

  list(): RestoreReport[] {
    return Array.from(this.#entries, ([restoreId, { request, tally }]) => {
      return { restoreId, vmName: request.vmName, stats: tally.stats() }
    })
  }

  async drop(restoreId: string): Promise<void> {
    const entry = this.#entries.get(restoreId)
    if (entry === undefined) return
    this.#entries.delete(restoreId)
    entry.prepared?.restore.end()
    await entry.ended
  }

  /** Tells of all that are under way. */
  tellProgress(): void {
    for (const [restoreId, entry] of this.#entries)
      if (entry.tally.state === 'serving') this.#tell({ notice: 'progress', restoreId, stats: entry.tally.stats() })
  }

  async #run(entry: Entry, { restore, record, workingSet, opened }: PreparedRestore): Promise<void> {
    const { request, tally } = entry
    const { restoreId } = request
    let failure: RametError | undefined
    try {
      await restore.run()
      tally.end('completed')
      if (workingSet !== undefined) await this.#keep(entry, () => writeRecord(workingSet, record, tally.neededPages))
    } catch (error) {
      failure = asRametError(error)
      tally.end('lost')
    }
    restore.end()
    await opened.disposeAsync()
    this.#log(entry, failure === undefined ? 'a guest has all of its memory' : `lost: ${failure.message}`)
    if (this.#entries.get(restoreId) !== entry) return
    const error = failure === undefined ? {} : { error: toWireError(failure) }
    this.#tell({ notice: failure === undefined ? 'completed' : 'lost', restoreId, stats: tally.stats(), ...error })
  }

  /** The record is a hint for other restores: this one is complete without it. */
  async #keep(entry: Entry, write: () => Promise<void>): Promise<void> {
    try {
      await write()
    } catch (error) {
      this.#context.log.warn({ restoreId: entry.request.restoreId, err: error }, 'the working set was not written')
    }
  }

  #failed(entry: Entry, error: RametError): void {
    const { restoreId } = entry.request
    this.#log(entry, `cannot go on: ${error.message}`)
    this.#tell({ notice: 'failed', restoreId, stats: entry.tally.stats(), error: toWireError(error) })
  }

  /** @throws RametError `IN_USE`, `NO_CAPACITY` */
  #makeRoom(restoreId: string): void {
    const before = this.#entries.get(restoreId)
    if (before !== undefined && isUnfinished(before))
      throw new RametError('IN_USE', {
        message: `restore ${restoreId} is being served`,
        remediation: 'Drop it first, or ask how far it is.',
      })
    this.#entries.delete(restoreId)
    if (this.#entries.size < limits.pageServerRestoreCount) return
    for (const [id, entry] of this.#entries) {
      if (isUnfinished(entry)) continue
      this.#entries.delete(id)
      return
    }
    throw new RametError('NO_CAPACITY', { message: `${limits.pageServerRestoreCount} restores are under way` })
  }

  #of(restoreId: string): Entry {
    const entry = this.#entries.get(restoreId)
    if (entry === undefined) throw notFound(restoreId)
    return entry
  }

  #log({ request, tally }: Entry, message: string): void {
    const { demandFaults, sentPages, neededPages, elapsedMs } = tally.stats()
    const { restoreId, vmName, policy } = request
    const figures = { demandFaults, sentPages, neededPages, elapsedMs: Math.round(elapsedMs) }
    this.#context.log.info({ restoreId, vmName, policy, ...figures }, message)
  }
}

function isUnfinished({ tally }: Entry): boolean {
  return tally.state !== 'completed' && tally.state !== 'lost'
}

const notFound = (restoreId: string) =>
  new RametError('NOT_FOUND', { message: `the page server has no restore ${restoreId}` })
