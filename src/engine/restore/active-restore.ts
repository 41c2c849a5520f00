import type { RestoreFigures } from '../../api/restore.ts'
import type { RestoreStats } from '../../checkpoint/serve/stats-schema.ts'
import type { ProcessIdentity } from '../../host/process-identity.ts'
import { pageBytes } from '../../memory/base.ts'
import type { QmpClient } from '../../qemu/qmp.ts'
import { RametError } from '../../shared/errors.ts'
import type { RestoreRecord } from '../records.ts'
import { figuresFrom } from './figures.ts'
import { lostMemory, lostMemoryOf } from './lost-memory.ts'
import type { PageServer } from './page-server.ts'

/** completed: the vm stands on its own · ended: its QEMU has gone before that */
export type RestoreEnd = 'completed' | 'ended'

/** A QEMU that is restored. */
export interface RestoredQemu {
  dir: string
  identity: ProcessIdentity
  /** a way to it on which capabilities are agreed on; undefined while there is none */
  qmp: QmpClient | undefined
}

/** One lazy restore in this daemon's care, from its beginning until its QEMU has ended. */
export class ActiveRestore {
  readonly vm: { id: string; name: string }
  readonly qemu: RestoredQemu
  /** as it is stored, as soon as the vm's record is */
  record: RestoreRecord
  /** the server that feeds it; undefined while there is none */
  server: PageServer | undefined
  /** a server said that it lost the way to QEMU, before it was known to be the one that feeds it */
  isLost = false
  /** it shall be filled at full speed, by whichever server */
  hurried = false
  /** looking for another server */
  recovering: Promise<void> | undefined
  /** told of each news of how far it is */
  readonly watchers = new Set<(stats: RestoreStats) => void>()
  /** called to have those who wait for its end wait no more */
  readonly waiting = new Set<(reason: unknown) => void>()
  /** that still comes, as far as it was told: guest memory, bytes */
  missingBytes = 0
  readonly beganAtMs = performance.now()
  readonly #settled = Promise.withResolvers<void>()
  readonly #over = Promise.withResolvers<RestoreEnd>()
  #end: RestoreEnd | undefined

  constructor(vm: { id: string; name: string }, qemu: RestoredQemu, record: RestoreRecord) {
    this.vm = vm
    this.qemu = qemu
    this.record = record
  }

  /** How it came to its end; undefined while it is under way. */
  get end(): RestoreEnd | undefined {
    return this.#end
  }

  /** resolves at its end */
  get over(): Promise<RestoreEnd> {
    return this.#over.promise
  }

  /** resolves when what it came from has been let go of too: whoever writes the next checkpoint writes it there */
  get settled(): Promise<void> {
    return this.#settled.promise
  }

  settle(): void {
    this.#settled.resolve()
  }

  finish(end: RestoreEnd): void {
    this.#end ??= end
    this.#over.resolve(this.#end)
  }

  /** For whoever needed it to come to a good end. */
  failure(): RametError {
    const { name } = this.vm
    const why = lostMemoryOf({ restore: this.record, state: 'running' })
    if (why !== undefined) return lostMemory(name, why)
    return new RametError('VMM_FAILED', { message: `${name} ended before all of its memory had come` })
  }

  /** Takes over what the server counted. */
  count(stats: RestoreStats): void {
    this.missingBytes = stats.missingPages * pageBytes
    this.record = { ...this.record, ...figuresFrom(stats) }
    for (const watcher of this.watchers) watcher(stats)
  }

  /** The figures of this moment, of a restore that is over: nothing is counted any more. */
  get finalFigures(): RestoreFigures | undefined {
    const { now } = this.record
    return now === undefined ? undefined : { ...now, elapsedMs: performance.now() - this.beganAtMs }
  }
}
