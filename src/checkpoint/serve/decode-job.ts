/** What the threads of `decode-pool.ts` are told, and answer. */
import type { RametError } from '../../shared/errors.ts'

/** A block to be checked and decompressed. */
export interface DecodeJob {
  readonly id: number
  /** number of the block and name of its file, for messages */
  readonly block: number
  readonly file: string
  /** beginning of the SHA-256 of the stored bytes */
  readonly digest: Uint8Array
  readonly rawBytes: number
  /** the stored bytes, or where a descriptor of this process has them */
  readonly stored: Uint8Array | { readonly fd: number; readonly offsetBytes: number; readonly lengthBytes: number }
}

export type DecodeAnswer =
  | { readonly id: number; readonly raw: Uint8Array }
  | { readonly id: number; readonly error: Pick<RametError, 'code' | 'message' | 'remediation'> }
