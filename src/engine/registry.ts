import { Bucket, type Stored } from '../cluster/bucket.ts'
import type { Durability, Store } from '../cluster/store.ts'
import { type ErrorCode, isRametError, RametError } from '../shared/errors.ts'
import { Mutex } from './mutex.ts'
import { parseRecord } from './records.ts'

/** Fields to set; `undefined` takes one away. */
export type Changes<T> = { [Field in keyof T]?: T[Field] | undefined }

interface Named {
  schemaVersion: 1
  id: string
  name: string
}

/**
 * All records of one kind: stored in a bucket, held in memory, found by id or name. This daemon is the
 * only writer, so that memory is always what is stored.
 */
export class Registry<T extends Named> {
  readonly #store: Store
  readonly #bucket: Bucket<T>
  readonly #records = new Map<string, Stored<T>>()
  readonly #idByName = new Map<string, string>()
  readonly #writes = new Mutex()
  readonly #what: string
  readonly #missing: ErrorCode

  private constructor(store: Store, bucketName: string, what: string, missing: ErrorCode) {
    this.#store = store
    this.#bucket = new Bucket<T>(store, bucketName, parseRecord<T>)
    this.#what = what
    this.#missing = missing
  }

  /** Reads all records. @param what for messages: “vm” */
  static async open<T extends Named>(
    store: Store,
    bucketName: string,
    what: string,
    missing: ErrorCode,
  ): Promise<Registry<T>> {
    const registry = new Registry<T>(store, bucketName, what, missing)
    for (const stored of await registry.#bucket.list()) registry.#remember(stored)
    return registry
  }

  list(): T[] {
    return [...this.#records.values()].map((stored) => stored.value)
  }

  get(id: string): T | undefined {
    return this.#records.get(id)?.value
  }

  /** By id or name. @throws the registry's not-found error, which names the nearest name */
  find(ref: string): T {
    const record = this.get(ref) ?? this.get(this.#idByName.get(ref) ?? '')
    if (record !== undefined) return record
    throw new RametError(this.#missing, { message: `there is no ${this.#what} “${ref}”` })
  }

  nameTaken(name: string): boolean {
    return this.#idByName.has(name)
  }

  /** @throws RametError `NAME_TAKEN` */
  checkFree(name: string): void {
    if (!this.nameTaken(name)) return
    throw new RametError('NAME_TAKEN', { message: `there is a ${this.#what} “${name}” already` })
  }

  /** @throws RametError `NAME_TAKEN` */
  async create(record: T, durability?: Durability): Promise<T> {
    this.checkFree(record.name)
    // Taken at once: between here and the end of the commit somebody else may ask for the name.
    this.#idByName.set(record.name, record.id)
    try {
      const [revision = 0] = await this.#store.commit([this.#bucket.creating(record.id, record)], durability)
      this.#remember({ key: record.id, value: record, revision })
      return record
    } catch (error) {
      if (this.#idByName.get(record.name) === record.id) this.#idByName.delete(record.name)
      if (isRametError(error, 'STORE_CONFLICT'))
        throw new RametError('NAME_TAKEN', { message: `${this.#what} ${record.id} exists already`, cause: error })
      throw error
    }
  }

  /**
   * Stores the record with changes, given or computed from what it is by then; one at a time, in order.
   * @throws the not-found error when it has been removed meanwhile; `NAME_TAKEN`
   */
  update(id: string, changes: Changes<T> | ((record: T) => Changes<T>)): Promise<T> {
    return this.#writes.run(async () => {
      const before = this.#records.get(id)
      if (before === undefined) throw new RametError(this.#missing, { message: `${this.#what} ${id} was removed` })
      const value = withoutUndefined<T>({
        ...before.value,
        ...(typeof changes === 'function' ? changes(before.value) : changes),
      })
      const renamed = value.name !== before.value.name
      if (renamed) {
        this.checkFree(value.name)
        // Taken at once, as in `create`.
        this.#idByName.set(value.name, id)
      }
      try {
        const stored = await this.#bucket.update(before, value)
        if (renamed) this.#idByName.delete(before.value.name)
        this.#remember(stored)
      } catch (error) {
        if (renamed) this.#idByName.delete(value.name)
        throw error
      }
      return value
    })
  }

  async remove(id: string): Promise<void> {
    await this.#writes.run(async () => {
      const before = this.#records.get(id)
      if (before === undefined) return
      await this.#bucket.delete(id)
      this.#forget(before)
    })
  }

  #remember(stored: Stored<T>): void {
    this.#records.set(stored.key, stored)
    this.#idByName.set(stored.value.name, stored.key)
  }

  #forget(stored: Stored<T>): void {
    this.#records.delete(stored.key)
    if (this.#idByName.get(stored.value.name) === stored.key) this.#idByName.delete(stored.value.name)
  }
}

/** A change to `undefined` removes the field, since JSON would drop it on the next start anyway. */
function withoutUndefined<T extends object>(record: Changes<T>): T {
  return Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined)) as T
}
