/**
 * The pages that earlier restores of a checkpoint asked for, in a file beside it: the checkpoint itself never changes.
 * A hint only. Whoever cannot read it goes on without.
 */
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { createWhole, type NewFileOptions } from '../../disk/files.ts'
import { assert } from '../../shared/assert.ts'
import { errnoOf } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import { damaged } from './damaged.ts'
import { digestBytes, sha256 } from './layout.ts'
import { compress, decompress } from './zstd.ts'

/** What one restore needed. */
export interface WorkingSet {
  readonly recordedAt: Date
  /** in the order in which they were first needed, each once */
  readonly pages: Uint32Array
}

const magic = Buffer.from([0x89, 0x52, 0x41, 0x4d, 0x57, 0x53, 0x0d, 0x0a])
const formatVersion = 1
const at = { version: 8, setCount: 12, rawBytes: 16, storedBytes: 24, checkpoint: 32, digest: 64 }
const headerBytes = at.digest + digestBytes
/** recorded at u64, pages u32 */
const setHeaderBytes = 12

/** Name of the file beside a checkpoint. */
export function workingSetPath(checkpointPath: string): string {
  return `${checkpointPath}.working-set`
}

/** The sets to keep when one is added: the newest `limits.workingSetCount`, oldest first. */
export function addWorkingSet(sets: readonly WorkingSet[], added: WorkingSet): WorkingSet[] {
  return [...sets, added].slice(-limits.workingSetCount)
}

/**
 * Replaces the working sets of a checkpoint.
 *
 * @param path of their file, `workingSetPath` of a checkpoint of this host
 * @param digest of the checkpoint, in hex: sets of another file under its name are no use
 * @throws RametError `NO_SPACE`; those there were stay then
 */
export async function writeWorkingSetFile(
  path: string,
  digest: string,
  sets: readonly WorkingSet[],
  options: NewFileOptions = {},
): Promise<void> {
  const bytes = encodeWorkingSets(digest, sets)
  await createWhole(path, options, (handle) => handle.writeFile(bytes))
}

/** As `writeWorkingSetFile`, beside a checkpoint of this host. */
export function writeWorkingSets(
  checkpointPath: string,
  digest: string,
  sets: readonly WorkingSet[],
  options: NewFileOptions = {},
): Promise<void> {
  return writeWorkingSetFile(workingSetPath(checkpointPath), digest, sets, options)
}

/**
 * @param path of their file
 * @param pageCount of the checkpoint
 * @returns none where none were recorded, or only of another checkpoint
 * @throws RametError `CHECKPOINT_DAMAGED`; errno errors
 */
export async function readWorkingSetFile(path: string, digest: string, pageCount: number): Promise<WorkingSet[]> {
  try {
    await using handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    const stat = await handle.stat()
    if (!stat.isFile() || stat.size > maxFileBytes(pageCount)) throw damaged(path, 'file', 'is no file of working sets')
    return decodeWorkingSets(await handle.readFile(), digest, pageCount, path)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return []
    throw error
  }
}

/** As `readWorkingSetFile`, beside a checkpoint of this host. */
export function readWorkingSets(checkpointPath: string, digest: string, pageCount: number): Promise<WorkingSet[]> {
  return readWorkingSetFile(workingSetPath(checkpointPath), digest, pageCount)
}

function maxFileBytes(pageCount: number): number {
  return headerBytes + maxRawBytes(pageCount)
}

function maxRawBytes(pageCount: number): number {
  return limits.workingSetCount * (setHeaderBytes + 4 * pageCount)
}

export function encodeWorkingSets(digest: string, sets: readonly WorkingSet[]): Buffer {
  assert(sets.length <= limits.workingSetCount, 'as many working sets as are kept')
  const raw = Buffer.concat(sets.map(encodeSet))
  const stored = compress(raw) ?? raw
  const header = Buffer.alloc(headerBytes)
  magic.copy(header)
  header.writeUInt32LE(formatVersion, at.version)
  header.writeUInt32LE(sets.length, at.setCount)
  header.writeBigUInt64LE(BigInt(raw.length), at.rawBytes)
  header.writeBigUInt64LE(BigInt(stored.length), at.storedBytes)
  Buffer.from(digest, 'hex').copy(header, at.checkpoint)
  sha256(Buffer.concat([header.subarray(0, at.digest), stored])).copy(header, at.digest)
  return Buffer.concat([header, stored])
}

function encodeSet({ recordedAt, pages }: WorkingSet): Buffer {
  const bytes = Buffer.alloc(setHeaderBytes + 4 * pages.length)
  bytes.writeBigUInt64LE(BigInt(recordedAt.getTime()))
  bytes.writeUInt32LE(pages.length, 8)
  for (const [index, page] of pages.entries()) bytes.writeUInt32LE(page, setHeaderBytes + 4 * index)
  return bytes
}

/** As `readWorkingSets`, of the bytes of a file. */
export function decodeWorkingSets(bytes: Buffer, digest: string, pageCount: number, file: string): WorkingSet[] {
  const wrong = (why: string) => damaged(file, 'working sets', why)
  if (bytes.length < headerBytes || !magic.equals(bytes.subarray(0, magic.length))) throw wrong('are none')
  const stored = bytes.subarray(headerBytes)
  const expected = bytes.subarray(at.digest, headerBytes)
  if (!sha256(Buffer.concat([bytes.subarray(0, at.digest), stored])).equals(expected))
    throw wrong('do not match their checksum')
  // A newer Ramet's, or of another file: nothing is wrong with them, but nothing is to be had from them here.
  if (bytes.readUInt32LE(at.version) !== formatVersion) return []
  if (bytes.toString('hex', at.checkpoint, at.digest) !== digest) return []
  const rawBytes = Number(bytes.readBigUInt64LE(at.rawBytes))
  const isPossible =
    bytes.readBigUInt64LE(at.storedBytes) === BigInt(stored.length) && rawBytes <= maxRawBytes(pageCount)
  if (!isPossible) throw wrong('tell a length that cannot be')
  const raw = stored.length === rawBytes ? stored : decompress(stored, rawBytes)
  const sets = raw && decodeSets(raw, bytes.readUInt32LE(at.setCount), pageCount)
  if (sets === undefined) throw wrong('cannot be read')
  return sets
}

/** @returns undefined when the bytes are not exactly so many sets of pages that there are */
function decodeSets(raw: Buffer, setCount: number, pageCount: number): WorkingSet[] | undefined {
  if (setCount > limits.workingSetCount) return undefined
  const sets: WorkingSet[] = []
  let offset = 0
  while (sets.length < setCount) {
    if (offset + setHeaderBytes > raw.length) return undefined
    const recordedAt = new Date(Number(raw.readBigUInt64LE(offset)))
    const count = raw.readUInt32LE(offset + 8)
    offset += setHeaderBytes
    if (count > pageCount || offset + 4 * count > raw.length || Number.isNaN(recordedAt.getTime())) return undefined
    const pages = new Uint32Array(count)
    for (let index = 0; index < count; index += 1) pages[index] = raw.readUInt32LE(offset + 4 * index)
    if (pages.some((page) => page >= pageCount)) return undefined
    sets.push({ recordedAt, pages })
    offset += 4 * count
  }
  return offset === raw.length ? sets : undefined
}
