import { assert } from '../../shared/assert.ts'
import { limits } from '../../shared/limits.ts'
import {
  backingNameMaxBytes,
  extensionType,
  field,
  type HeaderExtension,
  invalidImage,
  magic,
  newHeaderBytes,
  version,
} from './format.ts'
import { type BackingFile, l1Needed, type Qcow2Header } from './header.ts'
import { type DiskIdentity, encodeIdentity } from './identity.ts'

/** QEMU's own defaults: clusters of 64 KiB, refcounts of 16 bits. */
const newClusterBits = 16
const newRefcountOrder = 4

export interface NewDisk {
  readonly virtualBytes: number
  readonly backing?: BackingFile
  readonly identity?: DiskIdentity
}

/** The pieces of a file; what lies between them is zero, and may be a hole. */
export interface DiskPieces {
  readonly fileBytes: number
  readonly pieces: readonly { readonly offset: number; readonly bytes: Buffer }[]
}

/**
 * A disk in which nothing is allocated: cluster 0 the header, 1 the refcount table, 2 the one
 * refcount block, from 3 on the first-level table, all zero.
 *
 * @throws RametError `IMAGE_INVALID` when size or backing name are beyond the limits
 */
export function encodeEmptyDisk(disk: NewDisk): DiskPieces {
  const clusterBytes = 2 ** newClusterBits
  if (!(disk.virtualBytes > 0 && disk.virtualBytes <= limits.diskMaxBytes && disk.virtualBytes % 512 === 0))
    throw invalidImage(`a disk of ${disk.virtualBytes} bytes cannot be made`)
  const l1Count = l1Needed(disk.virtualBytes, clusterBytes)
  const l1Clusters = Math.ceil((l1Count * 8) / clusterBytes)
  const usedClusters = 3 + l1Clusters
  assert(usedClusters <= (clusterBytes * 8) / 2 ** newRefcountOrder, 'one refcount block covers a new disk')

  const fixed = Buffer.alloc(newHeaderBytes)
  fixed.writeUInt32BE(magic, field.magic)
  fixed.writeUInt32BE(version, field.version)
  fixed.writeUInt32BE(newClusterBits, field.clusterBits)
  fixed.writeBigUInt64BE(BigInt(disk.virtualBytes), field.virtualBytes)
  fixed.writeUInt32BE(l1Count, field.l1Count)
  fixed.writeBigUInt64BE(BigInt(3 * clusterBytes), field.l1Offset)
  fixed.writeBigUInt64BE(BigInt(clusterBytes), field.refcountTableOffset)
  fixed.writeUInt32BE(1, field.refcountTableClusters)
  fixed.writeUInt32BE(newRefcountOrder, field.refcountOrder)
  fixed.writeUInt32BE(newHeaderBytes, field.headerBytes)
  const identity = disk.identity === undefined ? [] : [encodeIdentity(disk.identity)]

  const refcountTable = Buffer.alloc(8)
  refcountTable.writeBigUInt64BE(BigInt(2 * clusterBytes))
  const refcounts = Buffer.alloc(2 * usedClusters)
  for (let cluster = 0; cluster < usedClusters; cluster += 1) refcounts.writeUInt16BE(1, 2 * cluster)
  return {
    fileBytes: usedClusters * clusterBytes,
    pieces: [
      { offset: 0, bytes: assembleHeader(fixed, identity, disk.backing, clusterBytes) },
      { offset: clusterBytes, bytes: refcountTable },
      { offset: 2 * clusterBytes, bytes: refcounts },
    ],
  }
}

/**
 * The header area of an existing file with another identity or backing name; everything else, what is
 * not known here included, stays as it is. It ends with its own end mark, so that nothing of what it
 * is written over is read again; and it is short, so that it is written at once.
 *
 * @param start the start of the file, as `header` was decoded from it
 */
export function rewriteHeader(
  start: Buffer,
  header: Qcow2Header,
  change: { readonly identity?: DiskIdentity; readonly backing?: BackingFile },
): Buffer {
  const kept = header.extensions.filter(({ type }) => change.identity === undefined || type !== extensionType.identity)
  const extensions = change.identity === undefined ? kept : [...kept, encodeIdentity(change.identity)]
  const fixed = Buffer.from(start.subarray(0, header.headerBytes))
  return assembleHeader(fixed, extensions, change.backing ?? header.backing, header.clusterBytes)
}

function assembleHeader(
  fixed: Buffer,
  extensions: readonly HeaderExtension[],
  backing: BackingFile | undefined,
  clusterBytes: number,
): Buffer {
  const format =
    backing?.format === undefined
      ? []
      : [{ type: extensionType.backingFormat, data: Buffer.from(backing.format, 'latin1') }]
  const parts = [fixed, ...[...format, ...extensions].flatMap(encodeExtension), Buffer.alloc(8)]
  const name = Buffer.from(backing?.name ?? '')
  if (name.length > backingNameMaxBytes || name.includes(0)) throw invalidImage('the backing name cannot be written')
  const nameOffset = parts.reduce((sum, part) => sum + part.length, 0)
  fixed.writeBigUInt64BE(BigInt(backing === undefined ? 0 : nameOffset), field.backingOffset)
  fixed.writeUInt32BE(name.length, field.backingBytes)
  const area = Buffer.concat([...parts, name])
  if (area.length > Math.min(clusterBytes, limits.diskHeaderBytes))
    throw invalidImage('the header does not fit into its cluster')
  return area
}

function encodeExtension({ type, data }: HeaderExtension): Buffer[] {
  const head = Buffer.alloc(8)
  head.writeUInt32BE(type, 0)
  head.writeUInt32BE(data.length, 4)
  return [head, data, Buffer.alloc((8 - (data.length % 8)) % 8)]
}
