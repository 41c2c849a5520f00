import { RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'

/** What JSON can carry. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json }

/** A document as it was at one moment. */
export interface StoredDocument {
  readonly key: string
  readonly value: unknown
  /** rises with every change within its bucket, also over deletion and re-creation */
  readonly revision: number
}

export type Write =
  | { readonly op: 'create'; readonly bucket: string; readonly key: string; readonly value: unknown }
  | {
      readonly op: 'update'
      readonly bucket: string
      readonly key: string
      readonly value: unknown
      readonly expectedRevision: number
    }
  | { readonly op: 'delete'; readonly bucket: string; readonly key: string; readonly expectedRevision?: number }

/**
 * What a commit must survive by itself. `power`: a power cut. `kill`: the end of this process only; it survives a
 * power cut as soon as anything stored after it does, since order is kept. Right for what is of no use without
 * something that follows, and for what a power cut ends too: a disk flush is the dear part of a commit.
 */
export type Durability = 'power' | 'kill'

/**
 * Buckets of JSON documents with revisions: all that Ramet keeps of its VMs, templates and hosts.
 * One host implements it in SQLite; a cluster in a replicated key-value store. One suite runs on both.
 *
 * Every method may throw RametError `INVALID_ARGUMENT` (a key or bucket name outside the common
 * alphabet), `TOO_LARGE` (a value beyond `limits.storeValueBytes`) and `STORE_DAMAGED`.
 */
export interface Store {
  get(bucket: string, key: string): Promise<StoredDocument | undefined>

  /** All documents of a bucket, by key. */
  list(bucket: string): Promise<StoredDocument[]>

  /** @returns the first revision; @throws RametError `STORE_CONFLICT` when the key exists */
  create(bucket: string, key: string, value: unknown, durability?: Durability): Promise<number>

  /** Compare-and-set. @returns the new revision; @throws RametError `STORE_CONFLICT` when it is not at `expectedRevision` */
  update(bucket: string, key: string, value: unknown, expectedRevision: number): Promise<number>

  /**
   * Without `expectedRevision`, deleting what does not exist succeeds.
   * @throws RametError `STORE_CONFLICT` when it is not at `expectedRevision`
   */
  delete(bucket: string, key: string, expectedRevision?: number): Promise<void>

  /**
   * All writes or none.
   * @param durability default `power`
   * @returns the new revision of each write, in order (0 for a deletion)
   * @throws RametError `STORE_CONFLICT` for the first write that does not fit
   */
  commit(writes: readonly Write[], durability?: Durability): Promise<number[]>

  close(): Promise<void>
}

export type ConflictReason = 'exists' | 'missing' | 'changed'

/** `details` carries bucket, key and reason, so that a caller can say NAME_TAKEN where that is what it means. */
export function conflict(bucket: string, key: string, reason: ConflictReason): RametError {
  const what = { exists: 'exists already', missing: 'does not exist', changed: 'was changed by somebody else' }[reason]
  return new RametError('STORE_CONFLICT', { message: `${bucket}/${key} ${what}`, details: { bucket, key, reason } })
}

const bucketPattern = /^[a-z][a-z0-9_-]*$/
/** what every store takes as it is: neither wildcards nor blanks, no dot at either end */
const keyPattern = /^[A-Za-z0-9_=/-]([A-Za-z0-9_=./-]*[A-Za-z0-9_=/-])?$/

/** @throws RametError `INVALID_ARGUMENT` */
export function checkBucket(bucket: string): void {
  if (bucket.length > limits.nameChars || !bucketPattern.test(bucket))
    throw new RametError('INVALID_ARGUMENT', { message: `“${bucket.slice(0, 80)}” cannot name a bucket` })
}

/** @throws RametError `INVALID_ARGUMENT` */
export function checkKey(key: string): void {
  if (key.length > limits.storeKeyChars || !keyPattern.test(key))
    throw new RametError('INVALID_ARGUMENT', { message: `“${key.slice(0, 80)}” cannot be a key` })
}

/** The text a value is stored as. @throws RametError `TOO_LARGE`, `INVALID_ARGUMENT` for what JSON cannot carry */
export function encodeValue(value: unknown): string {
  const text = JSON.stringify(value)
  if (text === undefined) throw new RametError('INVALID_ARGUMENT', { message: `a ${typeof value} cannot be stored` })
  if (Buffer.byteLength(text) > limits.storeValueBytes)
    throw new RametError('TOO_LARGE', { message: `a document is larger than ${limits.storeValueBytes} bytes` })
  return text
}
