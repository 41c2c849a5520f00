/**
 * The checkpoint file as numbers; docs/checkpoint-format.md explains them. All integers are little-endian. Blocks of
 * RAM follow the header, then the sections, in the order of `sectionKinds` and without gaps up to the file's end.
 */
import { hash } from 'node:crypto'

/** Not text in any encoding, and a transfer that alters line ends alters it. */
export const magic = Buffer.from([0x89, 0x52, 0x41, 0x4d, 0x43, 0x4b, 0x0d, 0x0a])

/** Rises when an older Ramet could not read the file. */
export const formatVersion = 1

/** In every version: so long is the header, and it ends in the SHA-256 of what is before that. */
export const headerBytes = 1024

export const digestBytes = 32

/** A block's checksum is the beginning of the SHA-256 of its stored bytes. */
export const blockDigestBytes = 16

/** stored bytes u32, checksum */
export const blockEntryBytes = 4 + blockDigestBytes

/**
 * Order in the file; what opening needs is last, so that one read of the tail brings it. One that a file does not have,
 * which only `locality` may be, is empty.
 */
export const sectionKinds = [
  'devices',
  'roms',
  'locality',
  'manifest',
  'zeroMap',
  'baseMap',
  'order',
  'blocks',
] as const
export type SectionKind = (typeof sectionKinds)[number]

/** Position in this list is the number in the file. */
export const codecs = ['raw', 'zstd'] as const
export type Codec = (typeof codecs)[number]

/** What the header tells of a section. */
export interface Section {
  readonly kind: SectionKind
  readonly codec: Codec
  readonly offsetBytes: number
  readonly storedBytes: number
  /** after decompression */
  readonly rawBytes: number
  /** SHA-256 of the stored bytes */
  readonly digest: Buffer
}

export function sha256(bytes: Uint8Array): Buffer {
  return hash('sha256', bytes, 'buffer')
}

export function blockDigest(stored: Uint8Array): Buffer {
  return sha256(stored).subarray(0, blockDigestBytes)
}
