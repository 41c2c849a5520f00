import { closeSync, existsSync, openSync } from 'node:fs'
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { assert } from '../shared/assert.ts'
import { isRametError, RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import { applicationId, migrations } from './migrations.ts'
import type { Room } from './reserve.ts'
import { fromSqlite } from './sqlite-error.ts'
import type { Durability } from './store.ts'

/** SQLite's name for a database without a file, for tests */
const inMemory = ':memory:'

export interface DatabaseOptions {
  /** the steps to bring the file to; tests pass their own */
  migrations?: readonly string[]
  /** what a write that meets a full disk may have */
  room?: Room
}

/**
 * The one SQLite file of a data directory, shared by the documents and the journal, so that one
 * transaction can cover both. Everything is synchronous: a commit costs less than a turn of the loop.
 */
export class Database {
  readonly path: string
  readonly #sqlite: DatabaseSync
  readonly #statements = new Map<string, StatementSync>()
  #synchronous: Durability = 'power'
  readonly #room: Room | undefined
  #inTransaction = false

  /**
   * Opens the file, makes it if it is not there, checks it and brings it to today's schema.
   *
   * @throws RametError `STORE_DAMAGED` naming the file, `STORE_TOO_NEW` for one written by a later
   *   version, `NO_SPACE`, `PRIVILEGE`
   */
  constructor(path: string, options: DatabaseOptions = {}) {
    this.path = path
    this.#room = options.room
    try {
      // SQLite would make it with the umask's mode; what is in it is the daemon's own business
      if (path !== inMemory && !existsSync(path)) closeSync(openSync(path, 'a', 0o600))
      this.#sqlite = new DatabaseSync(path, { timeout: limits.storeBusyTimeoutMs })
    } catch (error) {
      throw fromSqlite(error, path)
    }
    try {
      this.#prepareFile(options.migrations ?? migrations)
    } catch (error) {
      this.#sqlite.close()
      throw fromSqlite(error, path)
    }
  }

  /** A prepared statement, made once per text. */
  statement(sql: string): StatementSync {
    let statement = this.#statements.get(sql)
    if (statement === undefined) {
      statement = this.#sqlite.prepare(sql)
      this.#statements.set(sql, statement)
    }
    return statement
  }

  /**
   * Runs `work` as one transaction: all of it is stored, or, if it throws, none. Calls nest; the
   * outermost one commits, with its own durability. `work` must not wait for anything; on a full disk
   * it is run again.
   */
  transaction<T>(work: () => T, durability: Durability = 'power'): T {
    if (this.#inTransaction) return work()
    for (;;) {
      try {
        const result = this.#commit(work, durability)
        this.#room?.refill()
        return result
      } catch (error) {
        if (!isRametError(error, 'NO_SPACE') || this.#room?.giveUp() !== true) throw error
      }
    }
  }

  #commit<T>(work: () => T, durability: Durability): T {
    try {
      this.#demand(durability)
      this.statement('BEGIN IMMEDIATE').run()
      this.#inTransaction = true
      const result = work()
      assert(!(result instanceof Promise), 'a transaction does not wait')
      this.statement('COMMIT').run()
      return result
    } catch (error) {
      if (this.#sqlite.isTransaction) this.#sqlite.exec('ROLLBACK')
      throw fromSqlite(error, this.path)
    } finally {
      this.#inTransaction = false
    }
  }

  /** Runs a single read, with SQLite's failures named. */
  read<T>(work: () => T): T {
    try {
      return work()
    } catch (error) {
      throw fromSqlite(error, this.path)
    }
  }

  /** Idempotent. */
  close(): void {
    if (this.#sqlite.isOpen) this.#sqlite.close()
  }

  #prepareFile(steps: readonly string[]): void {
    const sqlite = this.#sqlite
    const version = this.#pragmaNumber('user_version')
    const application = this.#pragmaNumber('application_id')
    const isNew = version === 0 && application === 0 && this.#pragmaNumber('schema_version') === 0
    if (!isNew && application !== applicationId)
      throw new RametError('STORE_DAMAGED', { message: `${this.path} was not written by Ramet` })
    if (version > steps.length)
      throw new RametError('STORE_TOO_NEW', {
        message: `${this.path} has schema version ${version}; this Ramet knows versions up to ${steps.length}`,
        details: { path: this.path, version, known: steps.length },
      })
    this.#checkIntegrity()
    sqlite.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON')
    for (let next = version; next < steps.length; next += 1) {
      this.transaction(() => {
        sqlite.exec(steps[next] ?? '')
        sqlite.exec(`PRAGMA application_id = ${applicationId}; PRAGMA user_version = ${next + 1}`)
      })
    }
  }

  #checkIntegrity(): void {
    const rows = this.#sqlite.prepare('PRAGMA integrity_check(5)').all()
    const findings = rows.map((row) => String(row.integrity_check))
    if (findings[0] === 'ok') return
    throw new RametError('STORE_DAMAGED', {
      message: `${this.path} is damaged: ${findings[0]}`,
      details: { path: this.path, findings },
    })
  }

  #demand(durability: Durability): void {
    if (durability === this.#synchronous) return
    // In WAL mode NORMAL leaves out the flush of the log at commit; the file stays consistent either
    // way, and the next FULL commit flushes what came before it.
    this.#sqlite.exec(durability === 'power' ? 'PRAGMA synchronous = FULL' : 'PRAGMA synchronous = NORMAL')
    this.#synchronous = durability
  }

  #pragmaNumber(name: 'user_version' | 'application_id' | 'schema_version'): number {
    return Number(this.#sqlite.prepare(`PRAGMA ${name}`).get()?.[name])
  }
}
