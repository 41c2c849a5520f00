import { invalidImage } from './format.ts'
import { l1Needed, type Qcow2Header } from './header.ts'
import type { ByteSource } from './source.ts'

/**
 * `data`: allocated here. `zero`: reads as zero here, whatever the base has.
 * `unallocated`: the base decides.
 */
export type RangeKind = 'data' | 'zero' | 'unallocated'

/** A run of the guest's disk, in bytes; runs follow one another without gap from 0 to the virtual size. */
export interface DiskRange {
  readonly offset: number
  readonly length: number
  readonly kind: RangeKind
}

export interface AllocationSummary {
  readonly dataBytes: number
  readonly zeroBytes: number
  readonly unallocatedBytes: number
}

const l1ChunkCount = 8192

/**
 * What a file says about each part of the disk. One second-level table is in memory at a time, and no
 * more tables are read than the file has room for, whatever its first level claims.
 *
 * @throws RametError `IMAGE_INVALID`
 */
export async function* walkRanges(source: ByteSource, header: Qcow2Header): AsyncGenerator<DiskRange> {
  const { clusterBytes, virtualBytes } = header
  const tableSpan = clusterBytes * (clusterBytes / 8)
  let tablesLeft = Math.ceil(source.bytes / clusterBytes)
  let pending: DiskRange | undefined
  for await (const { index, tableOffset } of firstLevel(source, header)) {
    const offset = index * tableSpan
    const length = Math.min(tableSpan, virtualBytes - offset)
    let runs: DiskRange[] = [{ offset, length, kind: 'unallocated' }]
    if (tableOffset !== 0) {
      tablesLeft -= 1
      if (tablesLeft < 0 || tableOffset + clusterBytes > source.bytes)
        throw invalidImage('it is cut short: a second-level table is not all there')
      runs = decodeTable(await source.read(tableOffset, clusterBytes), offset, length, source.bytes)
    }
    for (const run of runs) {
      if (pending?.kind === run.kind) pending = { ...pending, length: pending.length + run.length }
      else {
        if (pending !== undefined) yield pending
        pending = run
      }
    }
  }
  if (pending !== undefined) yield pending
}

/** Bytes of the disk by kind. @throws RametError `IMAGE_INVALID` */
export async function summarizeRanges(source: ByteSource, header: Qcow2Header): Promise<AllocationSummary> {
  const sums = { data: 0, zero: 0, unallocated: 0 }
  for await (const { kind, length } of walkRanges(source, header)) sums[kind] += length
  return { dataBytes: sums.data, zeroBytes: sums.zero, unallocatedBytes: sums.unallocated }
}

async function* firstLevel(
  source: ByteSource,
  header: Qcow2Header,
): AsyncGenerator<{ index: number; tableOffset: number }> {
  const count = l1Needed(header.virtualBytes, header.clusterBytes)
  for (let from = 0; from < count; from += l1ChunkCount) {
    const chunkCount = Math.min(l1ChunkCount, count - from)
    const chunk = await source.read(header.l1Offset + from * 8, chunkCount * 8)
    for (let index = 0; index < chunkCount; index += 1) {
      const high = chunk.readUInt32BE(index * 8)
      const low = chunk.readUInt32BE(index * 8 + 4)
      // bit 63 says that the table is not shared; 56 to 62 and 0 to 8 are reserved
      if ((high & 0x7f000000) !== 0 || (low & 0x1ff) !== 0) throw invalidImage('a first-level entry is damaged')
      const tableOffset = (high & 0xffffff) * 2 ** 32 + low
      if (tableOffset % header.clusterBytes !== 0) throw invalidImage('a second-level table is not at a cluster')
      yield { index: from + index, tableOffset }
    }
  }
}

function decodeTable(table: Buffer, offset: number, length: number, fileBytes: number): DiskRange[] {
  const clusterBytes = table.length
  const runs: DiskRange[] = []
  let start = 0
  let kind: RangeKind | undefined
  for (let at = 0; at < length; at += clusterBytes) {
    const entry = (at / clusterBytes) * 8
    const next = entryKind(table.readUInt32BE(entry), table.readUInt32BE(entry + 4), clusterBytes, fileBytes)
    if (next === kind) continue
    if (kind !== undefined) runs.push({ offset: offset + start, length: at - start, kind })
    kind = next
    start = at
  }
  if (kind !== undefined) runs.push({ offset: offset + start, length: length - start, kind })
  return runs
}

function entryKind(high: number, low: number, clusterBytes: number, fileBytes: number): RangeKind {
  if ((high & 0x40000000) !== 0) {
    checkCompressed(high, low, clusterBytes, fileBytes)
    return 'data'
  }
  if ((high & 0x3f000000) !== 0 || (low & 0x1fe) !== 0) throw invalidImage('a second-level entry is damaged')
  const hostOffset = (high & 0xffffff) * 2 ** 32 + (low - (low & 0x1ff))
  if (hostOffset % clusterBytes !== 0) throw invalidImage('a data cluster is not at a cluster')
  if ((low & 1) !== 0) return 'zero'
  if (hostOffset === 0) return 'unallocated'
  if (hostOffset >= fileBytes) throw invalidImage('it is cut short: a data cluster lies beyond its end')
  return 'data'
}

/** A compressed cluster's offset takes the low bits only; how many depends on the cluster size. */
function checkCompressed(high: number, low: number, clusterBytes: number, fileBytes: number): void {
  const offsetBits = BigInt(62 - (Math.log2(clusterBytes) - 8))
  const entry = (BigInt(high) << 32n) | BigInt(low)
  const hostOffset = entry & ((1n << offsetBits) - 1n)
  if (hostOffset === 0n || hostOffset >= BigInt(fileBytes))
    throw invalidImage('it is cut short: a compressed cluster lies beyond its end')
}
