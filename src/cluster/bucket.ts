import { RametError } from '../shared/errors.ts'
import type { Durability, Store, StoredDocument, Write } from './store.ts'

export interface Stored<T> {
  readonly key: string
  readonly value: T
  readonly revision: number
}

/**
 * One bucket with its type. `parse` runs on everything read: what an older version, or a hand, wrote
 * is checked before it is believed.
 */
export class Bucket<T> {
  readonly name: string
  readonly #store: Store
  readonly #parse: (value: unknown) => T

  /** @param parse returns the value in today's form, or throws */
  constructor(store: Store, name: string, parse: (value: unknown) => T) {
    this.#store = store
    this.name = name
    this.#parse = parse
  }

  async get(key: string): Promise<Stored<T> | undefined> {
    const document = await this.#store.get(this.name, key)
    return document === undefined ? undefined : this.#typed(document)
  }

  async list(): Promise<Stored<T>[]> {
    return (await this.#store.list(this.name)).map((document) => this.#typed(document))
  }

  /** @throws RametError `STORE_CONFLICT` when the key exists */
  async create(key: string, value: T, durability?: Durability): Promise<Stored<T>> {
    return { key, value, revision: await this.#store.create(this.name, key, value, durability) }
  }

  /** @throws RametError `STORE_CONFLICT` when `before` is no longer what is stored */
  async update(before: Stored<T>, value: T): Promise<Stored<T>> {
    const revision = await this.#store.update(this.name, before.key, value, before.revision)
    return { key: before.key, value, revision }
  }

  /** @throws RametError `STORE_CONFLICT` when an `expectedRevision` is given and is not what is stored */
  async delete(key: string, expectedRevision?: number): Promise<void> {
    await this.#store.delete(this.name, key, expectedRevision)
  }

  // The same as data, for a commit over several buckets.

  creating(key: string, value: T): Write {
    return { op: 'create', bucket: this.name, key, value }
  }

  updating(before: Stored<T>, value: T): Write {
    return { op: 'update', bucket: this.name, key: before.key, value, expectedRevision: before.revision }
  }

  deleting(key: string, expectedRevision?: number): Write {
    return { op: 'delete', bucket: this.name, key, ...(expectedRevision === undefined ? {} : { expectedRevision }) }
  }

  #typed(document: StoredDocument): Stored<T> {
    try {
      return { ...document, value: this.#parse(document.value) }
    } catch (cause) {
      throw new RametError('STORE_DAMAGED', {
        message: `${this.name}/${document.key} is stored in a form that is not understood`,
        cause,
      })
    }
  }
}
