import { createHash } from 'node:crypto'
import type { IdempotencyRecord, IdempotencyStore, StoredAnswer } from '../engine/contract.ts'
import { RametError } from '../shared/errors.ts'
import { newId } from '../shared/ids.ts'
import { limits } from '../shared/limits.ts'

/** What a request has become: `T` made just now or found again, or the answer it once got. */
export type Turn<T> = { made: T } | { stored: StoredAnswer }

export interface Attempt<T> {
  key: string
  fingerprint: string
  /** Does it; a rejection means that nothing was done, and frees the key. */
  run(operationId: string): Promise<T>
  /** What a crashed daemon's attempt has become; undefined when it never began. */
  resume(operationId: string): Promise<T | undefined>
  /** The final answer of what was made, to be kept. */
  answer(made: T): Promise<StoredAnswer>
}

/**
 * Requests with an `Idempotency-Key` take place once. The id of the operation is written down before the
 * operation is begun, so that after a crash the engine can say whether it began.
 */
export class Idempotency {
  readonly #store: IdempotencyStore
  readonly #underWay = new Map<string, { fingerprint: string; turn: Promise<Turn<unknown>> }>()

  constructor(store: IdempotencyStore) {
    this.#store = store
  }

  /** @throws RametError `IDEMPOTENCY_MISMATCH`, and what `run` throws */
  async once<T>(attempt: Attempt<T>): Promise<Turn<T>> {
    const { key, fingerprint } = attempt
    const other = this.#underWay.get(key)
    if (other !== undefined) {
      if (other.fingerprint !== fingerprint) throw mismatch(key)
      return (await other.turn) as Turn<T>
    }
    const turn = this.#begin(attempt)
    this.#underWay.set(key, { fingerprint, turn })
    turn.then(
      (result) => this.#keep(attempt, result),
      () => this.#underWay.delete(key),
    )
    return await turn
  }

  async #begin<T>(attempt: Attempt<T>): Promise<Turn<T>> {
    const { key, fingerprint } = attempt
    const record = { key, fingerprint, operationId: newId('op') }
    const before = await this.#store.begin(record)
    if (before !== undefined) {
      if (before.fingerprint !== fingerprint) throw mismatch(key)
      const made = await attempt.resume(before.operationId)
      if (made !== undefined) return { made }
      if (before.answer !== undefined) return { stored: before.answer }
    }
    try {
      return { made: await attempt.run((before ?? record).operationId) }
    } catch (error) {
      await this.#store.forget(key)
      throw error
    }
  }

  async #keep<T>(attempt: Attempt<T>, turn: Turn<T>): Promise<void> {
    try {
      if ('made' in turn) await this.#store.finish(attempt.key, await attempt.answer(turn.made))
    } catch {
      // The record stays without an answer; a repeated request finds the operation by its id instead.
    } finally {
      this.#underWay.delete(attempt.key)
    }
  }
}

function mismatch(key: string): RametError {
  return new RametError('IDEMPOTENCY_MISMATCH', {
    message: `the Idempotency-Key “${key.slice(0, 80)}” was used for a different request`,
  })
}

/** @throws RametError `INVALID_ARGUMENT` */
export function checkIdempotencyKey(key: string): string {
  if (!/^[\x21-\x7e]+$/.test(key) || key.length > limits.idempotencyKeyChars)
    throw new RametError('INVALID_ARGUMENT', {
      message: `header.idempotency-key: not 1 to ${limits.idempotencyKeyChars} printable ASCII characters`,
    })
  return key
}

export function fingerprintOf(parts: readonly unknown[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex')
}

/** A store that forgets when the daemon ends; for tests, and where nothing durable is wanted. */
export function memoryIdempotencyStore(now: () => number = Date.now): IdempotencyStore {
  const records = new Map<string, { record: IdempotencyRecord; atMs: number }>()
  return {
    async begin(record) {
      for (const [key, { atMs }] of records) {
        if (atMs > now() - limits.idempotencyTtlMs) break
        records.delete(key)
      }
      const before = records.get(record.key)
      if (before !== undefined) return before.record
      records.set(record.key, { record: { ...record }, atMs: now() })
      return undefined
    },
    async finish(key, answer) {
      const kept = records.get(key)
      if (kept !== undefined) kept.record.answer = answer
    },
    async forget(key) {
      records.delete(key)
    },
  }
}
