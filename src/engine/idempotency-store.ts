import { createHash } from 'node:crypto'
import { Bucket } from '../cluster/bucket.ts'
import type { Store } from '../cluster/store.ts'
import type { Clock } from '../shared/clock.ts'
import { isRametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import type { IdempotencyRecord, IdempotencyStore, StoredAnswer } from './contract.ts'

interface Kept {
  record: IdempotencyRecord
  atMs: number
}

/** Answers to requests with an `Idempotency-Key`, kept where a restart does not lose them. */
export class StoredIdempotency implements IdempotencyStore {
  readonly #bucket: Bucket<Kept>
  readonly #clock: Clock
  #prunedAtMs = Number.NEGATIVE_INFINITY

  constructor(store: Store, clock: Clock) {
    this.#bucket = new Bucket<Kept>(store, 'idempotency', (value) => value as Kept)
    this.#clock = clock
  }

  /** Drops what is older than it need be kept. */
  async prune(): Promise<void> {
    const nowMs = this.#clock.nowMs()
    this.#prunedAtMs = nowMs
    for (const { key, value } of await this.#bucket.list()) {
      if (value.atMs < nowMs - limits.idempotencyTtlMs) await this.#bucket.delete(key)
    }
  }

  async begin(record: IdempotencyRecord): Promise<IdempotencyRecord | undefined> {
    // A daemon lives for months; what has expired goes as others come.
    if (this.#clock.nowMs() - this.#prunedAtMs > limits.idempotencyPruneMs) await this.prune()
    const key = keyOf(record.key)
    for (;;) {
      try {
        await this.#bucket.create(key, { record, atMs: this.#clock.nowMs() })
        return undefined
      } catch (error) {
        if (!isRametError(error, 'STORE_CONFLICT')) throw error
      }
      const before = (await this.#bucket.get(key))?.value
      if (before !== undefined && before.atMs >= this.#clock.nowMs() - limits.idempotencyTtlMs) return before.record
      await this.#bucket.delete(key)
    }
  }

  async finish(key: string, answer: StoredAnswer): Promise<void> {
    const before = await this.#bucket.get(keyOf(key))
    if (before === undefined) return
    const record = { ...before.value.record, answer }
    try {
      await this.#bucket.update(before, { ...before.value, record })
    } catch (error) {
      // An answer too large to keep: the operation's result still can be asked for.
      if (!isRametError(error, 'TOO_LARGE')) throw error
    }
  }

  async forget(key: string): Promise<void> {
    await this.#bucket.delete(keyOf(key))
  }
}

/** Keys are the client's free text; the store's alphabet is not. */
const keyOf = (key: string) => createHash('sha256').update(key).digest('hex')
