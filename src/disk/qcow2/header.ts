import { limits } from '../../shared/limits.ts'
import {
  backingNameMaxBytes,
  extensionType,
  field,
  type HeaderExtension,
  headerMinBytes,
  incompatible,
  invalidImage,
  magic,
  readableFeatures,
  version,
} from './format.ts'
import { type DiskIdentity, decodeIdentity } from './identity.ts'

export interface BackingFile {
  /** as written in the file: relative to the directory that the file is in */
  readonly name: string
  /** absent in files made without saying it, which would be probed; Ramet always says it */
  readonly format?: string
}

/** What a qcow2 header says, checked against the size of the file. */
export interface Qcow2Header {
  readonly virtualBytes: number
  readonly clusterBytes: number
  /** entries of the first-level table in the file; at least what `virtualBytes` needs */
  readonly l1Count: number
  readonly l1Offset: number
  readonly refcountTableOffset: number
  readonly refcountTableClusters: number
  readonly refcountBits: number
  readonly snapshotCount: number
  readonly backing?: BackingFile
  /** refcounts may be stale: a writer with lazy refcounts did not close the file */
  readonly isDirty: boolean
  /** QEMU found its tables inconsistent and refuses to write to it */
  readonly isCorrupt: boolean
  readonly identity: DiskIdentity
  /** all but the backing format, in order */
  readonly extensions: readonly HeaderExtension[]
  /** length of the fixed part */
  readonly headerBytes: number
}

/**
 * Reads the start of a file.
 *
 * @param start the first `limits.diskHeaderBytes` bytes of the file, or all of a shorter one
 * @param fileBytes the size of the file, against which every offset is checked
 * @throws RametError `IMAGE_INVALID`
 */
export function decodeHeader(start: Buffer, fileBytes: number): Qcow2Header {
  if (start.length < headerMinBytes || start.readUInt32BE(field.magic) !== magic)
    throw invalidImage('it is not a qcow2 file')
  const fileVersion = start.readUInt32BE(field.version)
  if (fileVersion !== version) throw invalidImage(`it is qcow2 of version ${fileVersion}; only version 3 is used`)
  const clusterBits = start.readUInt32BE(field.clusterBits)
  if (clusterBits < 9 || clusterBits > 21) throw invalidImage(`its cluster size, 2^${clusterBits}, is not allowed`)
  const clusterBytes = 2 ** clusterBits
  const features = decodeFeatures(start)
  const headerBytes = start.readUInt32BE(field.headerBytes)
  if (headerBytes < headerMinBytes || headerBytes % 8 !== 0 || headerBytes > Math.min(clusterBytes, start.length))
    throw invalidImage('its header is cut short')
  const refcountOrder = start.readUInt32BE(field.refcountOrder)
  if (refcountOrder > 6) throw invalidImage(`its refcounts, of 2^${refcountOrder} bits, are not allowed`)

  const area = start.subarray(0, Math.min(clusterBytes, start.length))
  const backingName = decodeBackingName(area, headerBytes)
  const allExtensions = decodeExtensions(area, headerBytes, backingName?.offset ?? area.length)
  const format = allExtensions.find((extension) => extension.type === extensionType.backingFormat)?.data
  const extensions = allExtensions.filter((extension) => extension.type !== extensionType.backingFormat)
  return {
    ...decodeTables(start, clusterBytes, fileBytes),
    clusterBytes,
    refcountBits: 2 ** refcountOrder,
    snapshotCount: start.readUInt32BE(field.snapshotCount),
    ...(backingName === undefined
      ? {}
      : {
          backing: { name: backingName.name, ...(format === undefined ? {} : { format: format.toString('latin1') }) },
        }),
    ...features,
    identity: decodeIdentity(extensions),
    extensions,
    headerBytes,
  }
}

function decodeFeatures(start: Buffer): { isDirty: boolean; isCorrupt: boolean } {
  const features = start.readBigUInt64BE(field.incompatibleFeatures)
  const has = (bit: number) => ((features >> BigInt(bit)) & 1n) === 1n
  if (has(incompatible.externalData)) throw invalidImage('its data lies in another file, which is not supported')
  if (has(incompatible.extendedL2)) throw invalidImage('it has subclusters (extended_l2), which are not supported')
  const unknown = features & ~readableFeatures
  if (unknown !== 0n) throw invalidImage(`it needs features that are not known here (bits 0x${unknown.toString(16)})`)
  if (start.readUInt32BE(field.cryptMethod) !== 0) throw invalidImage('it is encrypted, which is not supported')
  return { isDirty: has(incompatible.dirty), isCorrupt: has(incompatible.corrupt) }
}

type Tables = Pick<
  Qcow2Header,
  'virtualBytes' | 'l1Count' | 'l1Offset' | 'refcountTableOffset' | 'refcountTableClusters'
>

function decodeTables(start: Buffer, clusterBytes: number, fileBytes: number): Tables {
  const virtualBytes = readU64(start, field.virtualBytes, limits.diskMaxBytes, 'virtual size')
  const l1Count = start.readUInt32BE(field.l1Count)
  const l1Offset = readU64(start, field.l1Offset, fileBytes, 'first-level table')
  const refcountTableOffset = readU64(start, field.refcountTableOffset, fileBytes, 'refcount table')
  const refcountTableClusters = start.readUInt32BE(field.refcountTableClusters)
  if (l1Count < l1Needed(virtualBytes, clusterBytes)) throw invalidImage('its first-level table is too small')
  if (l1Count * 8 > limits.diskL1Bytes) throw invalidImage('its first-level table is too large')
  if (l1Offset % clusterBytes !== 0 || refcountTableOffset % clusterBytes !== 0)
    throw invalidImage('one of its tables is not at a cluster')
  if (l1Count > 0 && l1Offset === 0) throw invalidImage('its first-level table lies in its header')
  if (l1Offset + l1Count * 8 > fileBytes) throw invalidImage('it is cut short: its first-level table is not all there')
  // a refcount table only exists in whole clusters, but a file may end within the last one
  const lastCluster = refcountTableOffset + (refcountTableClusters - 1) * clusterBytes
  if (refcountTableOffset === 0 || refcountTableClusters === 0 || lastCluster >= fileBytes)
    throw invalidImage('it is cut short: its refcount table is not all there')
  return { virtualBytes, l1Count, l1Offset, refcountTableOffset, refcountTableClusters }
}

/** First-level entries that a disk of this size needs. */
export function l1Needed(virtualBytes: number, clusterBytes: number): number {
  return Math.ceil(virtualBytes / (clusterBytes * (clusterBytes / 8)))
}

function decodeBackingName(area: Buffer, headerBytes: number): { name: string; offset: number } | undefined {
  const length = area.readUInt32BE(field.backingBytes)
  const offset = readU64(area, field.backingOffset, area.length, 'backing name')
  if (offset === 0) return undefined
  if (length === 0 || length > backingNameMaxBytes || offset < headerBytes || offset + length > area.length)
    throw invalidImage('its backing name lies outside its header')
  const bytes = area.subarray(offset, offset + length)
  const name = bytes.toString('utf8')
  if (bytes.includes(0) || !Buffer.from(name).equals(bytes)) throw invalidImage('its backing name is not text')
  return { name, offset }
}

function decodeExtensions(area: Buffer, from: number, end: number): HeaderExtension[] {
  const extensions: HeaderExtension[] = []
  let offset = from
  while (offset + 8 <= end) {
    const type = area.readUInt32BE(offset)
    const length = area.readUInt32BE(offset + 4)
    if (type === extensionType.end) break
    if (length > end - offset - 8) throw invalidImage('a header extension is longer than the header')
    extensions.push({ type, data: Buffer.from(area.subarray(offset + 8, offset + 8 + length)) })
    offset += 8 + Math.ceil(length / 8) * 8
  }
  return extensions
}

function readU64(bytes: Buffer, offset: number, max: number, what: string): number {
  const value = bytes.readBigUInt64BE(offset)
  if (value > BigInt(max)) throw invalidImage(`its ${what} is out of bounds`)
  return Number(value)
}
