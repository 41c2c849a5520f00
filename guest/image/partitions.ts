/** Partition tables of disks: GPT and the four primary partitions of an MBR. */
import type { FileHandle } from 'node:fs/promises'

export interface Partition {
  /** as the guest's kernel counts: `/dev/vda<number>` */
  number: number
  startBytes: number
  sizeBytes: number
}

const sectorBytes = 512
const gptSignature = 'EFI PART'
const protectiveType = 0xee
const entryMaxCount = 128

/** Partitions of a raw disk; none when it has no table. */
export async function readPartitions(disk: FileHandle): Promise<Partition[]> {
  const head = await readAt(disk, 0, 2 * sectorBytes)
  if (head.length < 2 * sectorBytes || head.readUInt16LE(510) !== 0xaa55) return []
  const primary = readMbr(head)
  const isGpt = primary.some(({ type }) => type === protectiveType)
  if (!isGpt) return primary.map(({ type: _type, ...partition }) => partition)
  const header = head.subarray(sectorBytes)
  if (header.toString('latin1', 0, 8) !== gptSignature) return []
  const tableAt = Number(header.readBigUInt64LE(72)) * sectorBytes
  const count = Math.min(header.readUInt32LE(80), entryMaxCount)
  const entryBytes = header.readUInt32LE(84)
  if (entryBytes < 128 || entryBytes > 4096) return []
  return readGptEntries(await readAt(disk, tableAt, count * entryBytes), entryBytes)
}

function readMbr(sector: Buffer): (Partition & { type: number })[] {
  const partitions = []
  for (let index = 0; index < 4; index += 1) {
    const entry = sector.subarray(446 + 16 * index, 462 + 16 * index)
    const type = entry.readUInt8(4)
    const startBytes = entry.readUInt32LE(8) * sectorBytes
    const sizeBytes = entry.readUInt32LE(12) * sectorBytes
    if (type !== 0 && sizeBytes > 0) partitions.push({ number: index + 1, type, startBytes, sizeBytes })
  }
  return partitions
}

function readGptEntries(table: Buffer, entryBytes: number): Partition[] {
  const partitions: Partition[] = []
  for (let at = 0; at + entryBytes <= table.length; at += entryBytes) {
    const entry = table.subarray(at, at + entryBytes)
    const isUsed = entry.subarray(0, 16).some((byte) => byte !== 0)
    const first = Number(entry.readBigUInt64LE(32))
    const last = Number(entry.readBigUInt64LE(40))
    if (!isUsed || last < first) continue
    const sizeBytes = (last - first + 1) * sectorBytes
    partitions.push({ number: at / entryBytes + 1, startBytes: first * sectorBytes, sizeBytes })
  }
  return partitions
}

async function readAt(disk: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length)
  const { bytesRead } = await disk.read(buffer, 0, length, position)
  return buffer.subarray(0, bytesRead)
}
