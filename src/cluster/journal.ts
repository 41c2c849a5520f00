import { assert } from '../shared/assert.ts'
import { type Clock, systemClock } from '../shared/clock.ts'
import { RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import type { Database } from './database.ts'
import type { Durability, Json } from './store.ts'

/** What can be acquired on a host, and so be left over on it. */
export type AcquisitionKind = 'process' | 'keeper' | 'socket' | 'cgroup' | 'network' | 'directory' | 'file' | 'base'

/** These end with the host's power, so a record of them need not outlive it. */
const endsWithPower: ReadonlySet<AcquisitionKind> = new Set(['process', 'keeper', 'socket', 'cgroup', 'network'])

export interface Intent {
  /** id of the operation that acquires it */
  readonly operation: string
  /** id of the vm, template or image it is for; recovery decides owner by owner */
  readonly owner: string
  readonly kind: AcquisitionKind
  /** enough to find the thing and to know it again: a path, later a pid with its start time */
  readonly ident: Json
}

export interface JournalEntry extends Intent {
  readonly id: number
  /** `intent`: may exist; `held`: did exist */
  readonly state: 'intent' | 'held'
  readonly atMs: number
}

/**
 * What this host acquired or was about to. Every acquisition is written here before it is made, so
 * that a daemon killed at any moment leaves nothing that the next one cannot find:
 *
 *   intend → acquire → hold → … → undo → release
 *
 * An entry that is gone was released. All calls are synchronous, and return once the record is safe.
 */
export class Journal {
  readonly #database: Database
  readonly #clock: Clock

  constructor(database: Database, clock: Clock = systemClock) {
    this.#database = database
    this.#clock = clock
  }

  /** Records what is about to be acquired, in one commit. @returns one id for each intent, in order */
  intend(intents: readonly Intent[]): number[] {
    if (intents.length === 0) return []
    const idents = intents.map((intent) => encodeIdent(intent.ident))
    return this.#database.transaction(
      () => {
        const insert = this.#database.statement(
          "INSERT INTO journal (operation, owner, kind, ident, state, at_ms) VALUES (?, ?, ?, ?, 'intent', ?)",
        )
        const nowMs = this.#clock.nowMs()
        return intents.map(({ operation, owner, kind }, index) =>
          Number(insert.run(operation, owner, kind, idents[index] ?? 'null', nowMs).lastInsertRowid),
        )
      },
      durabilityFor(intents.map((intent) => intent.kind)),
    )
  }

  /**
   * Records that things were acquired, with what is known of each only now (a pid), in one commit.
   * It needs no disk flush: should power fail, the intents are still there, and what they name is looked for.
   */
  hold(acquired: readonly { readonly id: number; readonly ident?: Json }[]): void {
    if (acquired.length === 0) return
    this.#database.transaction(() => {
      const update = this.#database.statement(
        "UPDATE journal SET state = 'held', ident = coalesce(?, ident), at_ms = ? WHERE id = ?",
      )
      const nowMs = this.#clock.nowMs()
      for (const { id, ident } of acquired) {
        const { changes } = update.run(ident === undefined ? null : encodeIdent(ident), nowMs, id)
        assert(changes === 1, `journal entry ${id} is held after its release`)
      }
    }, 'kill')
  }

  /**
   * Forgets things that are undone, or that a stored document now owns (then within one `transaction`
   * with the writing of that document). Releasing twice is harmless.
   */
  release(ids: readonly number[]): void {
    if (ids.length === 0) return
    // A release lost in a power cut would have recovery remove a file that has an owner by now.
    this.#database.transaction(
      () => {
        const remove = this.#database.statement('DELETE FROM journal WHERE id = ?')
        for (const id of ids) remove.run(id)
      },
      durabilityFor(this.#kindsOf(ids)),
    )
  }

  /** Everything not released, grouped by owner, each in the order of acquisition: undo from the end. */
  open(): Map<string, JournalEntry[]> {
    const rows = this.#database.read(() =>
      this.#database.statement('SELECT id, operation, owner, kind, ident, state, at_ms FROM journal ORDER BY id').all(),
    )
    return Map.groupBy(rows.map(entryOf), (entry) => entry.owner)
  }

  /** What one owner has open, in the order of acquisition. */
  openOf(owner: string): JournalEntry[] {
    const rows = this.#database.read(() =>
      this.#database
        .statement('SELECT id, operation, owner, kind, ident, state, at_ms FROM journal WHERE owner = ? ORDER BY id')
        .all(owner),
    )
    return rows.map(entryOf)
  }

  /** One commit over journal and documents (`SqliteStore.commitNow`): all of it, or none. `work` must not wait. */
  transaction<T>(work: () => T): T {
    return this.#database.transaction(work)
  }

  #kindsOf(ids: readonly number[]): AcquisitionKind[] {
    const select = this.#database.statement('SELECT kind FROM journal WHERE id = ?')
    return this.#database.read(() =>
      ids.flatMap((id) => {
        const row = select.get(id)
        return row === undefined ? [] : [row.kind as AcquisitionKind]
      }),
    )
  }
}

function durabilityFor(kinds: readonly AcquisitionKind[]): Durability {
  return kinds.every((kind) => endsWithPower.has(kind)) ? 'kill' : 'power'
}

function encodeIdent(ident: Json): string {
  const text = JSON.stringify(ident)
  if (text.length > limits.journalIdentBytes)
    throw new RametError('TOO_LARGE', { message: `a journal entry of more than ${limits.journalIdentBytes} bytes` })
  return text
}

function entryOf(row: Record<string, unknown>): JournalEntry {
  return {
    id: Number(row.id),
    operation: String(row.operation),
    owner: String(row.owner),
    kind: row.kind as AcquisitionKind,
    ident: JSON.parse(String(row.ident)),
    state: row.state as JournalEntry['state'],
    atMs: Number(row.at_ms),
  }
}
