/**
 * The one form of tar that snapshots travel in: plain files one after another, each header written in one way only. Any
 * tar can list and unpack it; what another tar packs is not taken for one (docs/decisions/0063).
 */
import { assert } from '../../../shared/assert.ts'

export const blockBytes = 512

/** Two blocks of zeros. */
export const endBytes = 2 * blockBytes

const nameChars = 99
/** Beyond this a size is written in base 256, as all tars of today understand. */
const octalMaxBytes = 8 ** 11 - 1

/** What a file takes in the archive, its header included. */
export function entryBytes(sizeBytes: number): number {
  return blockBytes + sizeBytes + paddingOf(sizeBytes)
}

/** Zeros behind a file of this size. */
export function paddingOf(sizeBytes: number): number {
  return (blockBytes - (sizeBytes % blockBytes)) % blockBytes
}

export interface TarEntry {
  /** without a directory */
  readonly name: string
  readonly sizeBytes: number
}

export function encodeTarHeader({ name, sizeBytes }: TarEntry): Buffer {
  assert(/^[\x21-\x7e]+$/.test(name) && name.length <= nameChars && !name.includes('/'), 'a plain name')
  const header = Buffer.alloc(blockBytes)
  header.write(name, 0)
  header.write('0000400\0', 100)
  header.write('0000000\0', 108)
  header.write('0000000\0', 116)
  if (sizeBytes <= octalMaxBytes) header.write(`${sizeBytes.toString(8).padStart(11, '0')}\0`, 124)
  else {
    header.writeUInt8(0x80, 124)
    header.writeBigUInt64BE(BigInt(sizeBytes), 128)
  }
  header.write('00000000000\0', 136)
  header.write('0', 156)
  header.write('ustar\0', 257)
  header.write('00', 263)
  header.write(' '.repeat(8), 148)
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return header
}

/** @returns undefined for whatever `encodeTarHeader` would not have written */
export function decodeTarHeader(header: Buffer): TarEntry | undefined {
  const end = header.indexOf(0)
  const name = header.toString('latin1', 0, Math.min(end < 0 ? 0 : end, 100))
  if (!/^[\x21-\x7e]+$/.test(name) || name.includes('/') || name.length > nameChars) return undefined
  const sizeBytes =
    header[124] === 0x80 ? Number(header.readBigUInt64BE(128)) : Number.parseInt(header.toString('latin1', 124, 135), 8)
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0) return undefined
  const entry = { name, sizeBytes }
  return encodeTarHeader(entry).equals(header) ? entry : undefined
}
