import { RametError } from '../../shared/errors.ts'

// The parts of the qcow2 format that Ramet reads or writes; all numbers on disk are big-endian.

/** “QFI\xfb” */
export const magic = 0x514649fb
export const version = 3

/** Where header fields lie, in bytes from the start of the file. */
export const field = {
  magic: 0, // u32
  version: 4, // u32
  backingOffset: 8, // u64, bytes; 0: no backing file
  backingBytes: 16, // u32
  clusterBits: 20, // u32
  virtualBytes: 24, // u64
  cryptMethod: 32, // u32, 0: none
  l1Count: 36, // u32, entries of 8 bytes
  l1Offset: 40, // u64, bytes
  refcountTableOffset: 48, // u64, bytes
  refcountTableClusters: 56, // u32
  snapshotCount: 60, // u32
  snapshotsOffset: 64, // u64, bytes
  incompatibleFeatures: 72, // u64, bits
  compatibleFeatures: 80, // u64, bits
  autoclearFeatures: 88, // u64, bits
  refcountOrder: 96, // u32, a refcount has 2^order bits
  headerBytes: 100, // u32
  compressionType: 104, // u8
} as const

export const headerMinBytes = 104
export const newHeaderBytes = 112
export const backingNameMaxBytes = 1023

/** Incompatible feature bits: what a reader that does not know one cannot read. */
export const incompatible = { dirty: 0, corrupt: 1, externalData: 2, compressionType: 3, extendedL2: 4 } as const

/** Those that can be read here; the others would make the tables mean something else. */
export const readableFeatures =
  (1n << BigInt(incompatible.dirty)) |
  (1n << BigInt(incompatible.corrupt)) |
  (1n << BigInt(incompatible.compressionType))

export const extensionType = {
  end: 0,
  backingFormat: 0xe2792aca,
  /** Ramet's own, “RAMT”; QEMU keeps extensions that it does not know */
  identity: 0x52414d54,
} as const

export interface HeaderExtension {
  readonly type: number
  readonly data: Buffer
}

/** A file that is not, or no longer, a qcow2 image that can be used. `path` is added by who opened it. */
export function invalidImage(message: string): RametError {
  return new RametError('IMAGE_INVALID', { message })
}
