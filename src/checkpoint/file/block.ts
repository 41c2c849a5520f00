/** A block: some pages, compressed together. One that does not shrink is stored as it is. */
import { damaged } from './damaged.ts'
import { blockDigest } from './layout.ts'
import { compress, decompress } from './zstd.ts'

/** @returns what to store: a frame, or the pages themselves when the frame would not be shorter */
export function encodeBlock(raw: Buffer): Buffer {
  return compress(raw) ?? raw
}

/**
 * Checks the stored bytes, then decompresses them.
 *
 * @param rawBytes what the block must have
 * @returns its pages, one after another; the stored bytes themselves when they are not compressed
 * @throws RametError `CHECKPOINT_DAMAGED`
 */
export function decodeBlock(stored: Buffer, rawBytes: number, digest: Buffer, block: number, file: string): Buffer {
  if (!blockDigest(stored).equals(digest)) throw damaged(file, `block ${block}`, 'does not match its checksum')
  if (stored.length === rawBytes) return stored
  const raw = decompress(stored, rawBytes)
  if (raw === undefined) throw damaged(file, `block ${block}`, 'cannot be decompressed')
  return raw
}
