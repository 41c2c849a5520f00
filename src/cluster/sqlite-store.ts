import { RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import type { Database } from './database.ts'
import {
  checkBucket,
  checkKey,
  conflict,
  type Durability,
  encodeValue,
  type Store,
  type StoredDocument,
  type Write,
} from './store.ts'

/** The store of a single host, in the database that the journal shares. */
export class SqliteStore implements Store {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  async get(bucket: string, key: string): Promise<StoredDocument | undefined> {
    checkBucket(bucket)
    checkKey(key)
    const row = this.#database.read(() =>
      this.#database
        .statement('SELECT key, revision, value FROM documents WHERE bucket = ? AND key = ?')
        .get(bucket, key),
    )
    return row === undefined ? undefined : this.#document(row)
  }

  async list(bucket: string): Promise<StoredDocument[]> {
    checkBucket(bucket)
    const rows = this.#database.read(() =>
      this.#database.statement('SELECT key, revision, value FROM documents WHERE bucket = ? ORDER BY key').all(bucket),
    )
    return rows.map((row) => this.#document(row))
  }

  async create(bucket: string, key: string, value: unknown, durability?: Durability): Promise<number> {
    return this.commitNow([{ op: 'create', bucket, key, value }], durability)[0] ?? 0
  }

  async update(bucket: string, key: string, value: unknown, expectedRevision: number): Promise<number> {
    return this.commitNow([{ op: 'update', bucket, key, value, expectedRevision }])[0] ?? 0
  }

  async delete(bucket: string, key: string, expectedRevision?: number): Promise<void> {
    this.commitNow([{ op: 'delete', bucket, key, ...(expectedRevision === undefined ? {} : { expectedRevision }) }])
  }

  async commit(writes: readonly Write[], durability?: Durability): Promise<number[]> {
    return this.commitNow(writes, durability)
  }

  /** `commit`, without the promise: for a transaction that covers the journal too. */
  commitNow(writes: readonly Write[], durability?: Durability): number[] {
    if (writes.length > limits.storeCommitCount)
      throw new RametError('TOO_LARGE', { message: `a commit of more than ${limits.storeCommitCount} writes` })
    // everything that can be refused without the disk is refused before the transaction
    const texts = writes.map((write) => {
      checkBucket(write.bucket)
      checkKey(write.key)
      return write.op === 'delete' ? '' : encodeValue(write.value)
    })
    if (writes.length === 0) return []
    return this.#database.transaction(
      () => writes.map((write, index) => this.#apply(write, texts[index] ?? '')),
      durability,
    )
  }

  async close(): Promise<void> {
    this.#database.close()
  }

  #apply(write: Write, text: string): number {
    const { bucket, key } = write
    if (write.op === 'create') {
      if (this.#revisionOf(bucket, key) !== undefined) throw conflict(bucket, key, 'exists')
    } else if (write.expectedRevision !== undefined) {
      const revision = this.#revisionOf(bucket, key)
      if (revision === undefined) throw conflict(bucket, key, 'missing')
      if (revision !== write.expectedRevision) throw conflict(bucket, key, 'changed')
    }
    if (write.op === 'delete') {
      this.#database.statement('DELETE FROM documents WHERE bucket = ? AND key = ?').run(bucket, key)
      return 0
    }
    const revision = this.#nextRevision()
    this.#database
      .statement('REPLACE INTO documents (bucket, key, revision, value) VALUES (?, ?, ?, ?)')
      .run(bucket, key, revision, text)
    return revision
  }

  #revisionOf(bucket: string, key: string): number | undefined {
    const row = this.#database.statement('SELECT revision FROM documents WHERE bucket = ? AND key = ?').get(bucket, key)
    return row === undefined ? undefined : Number(row.revision)
  }

  /** Kept in the file, so that a revision is never used twice, not even after a deletion and a restart. */
  #nextRevision(): number {
    const row = this.#database
      .statement("UPDATE counters SET value = value + 1 WHERE name = 'revision' RETURNING value")
      .get()
    return Number(row?.value)
  }

  #document(row: Record<string, unknown>): StoredDocument {
    const key = String(row.key)
    try {
      return { key, revision: Number(row.revision), value: JSON.parse(String(row.value)) }
    } catch (cause) {
      throw new RametError('STORE_DAMAGED', { message: `${this.#database.path}: document ${key} is damaged`, cause })
    }
  }
}
