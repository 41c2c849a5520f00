/** The first bytes of a checkpoint file: what it is, and where everything is, with the digest of each part. */
import { pageBytes } from '../../memory/base.ts'
import { assert } from '../../shared/assert.ts'
import { RametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import { damaged } from './damaged.ts'
import {
  blockEntryBytes,
  codecs,
  digestBytes,
  formatVersion,
  headerBytes,
  magic,
  type Section,
  sectionKinds,
  sha256,
} from './layout.ts'
import { largestLocalityBytes } from './locality-map.ts'

export interface Header {
  readonly fileBytes: number
  /** size of guest RAM */
  readonly memoryBytes: number
  /** pages in every block but the last, which may have fewer */
  readonly blockPages: number
  /** one of each kind, in file order */
  readonly sections: readonly Section[]
}

/** Offsets of the fields in the header. */
const at = { version: 8, headerBytes: 12, fileBytes: 16, memoryBytes: 24, pageBytes: 32, blockPages: 36, count: 40 }
const sectionsAt = 48
const sectionBytes = 64
const digestAt = headerBytes - digestBytes

export function encodeHeader(header: Header): Buffer {
  const bytes = Buffer.alloc(headerBytes)
  magic.copy(bytes)
  bytes.writeUInt32LE(formatVersion, at.version)
  bytes.writeUInt32LE(headerBytes, at.headerBytes)
  writeLength(bytes, header.fileBytes, at.fileBytes)
  writeLength(bytes, header.memoryBytes, at.memoryBytes)
  bytes.writeUInt32LE(pageBytes, at.pageBytes)
  bytes.writeUInt32LE(header.blockPages, at.blockPages)
  bytes.writeUInt32LE(sectionKinds.length, at.count)
  for (const [index, section] of header.sections.entries()) {
    assert(section.kind === sectionKinds[index], 'sections in their order')
    const start = sectionsAt + index * sectionBytes
    bytes.writeUInt32LE(index + 1, start)
    bytes.writeUInt32LE(codecs.indexOf(section.codec), start + 4)
    writeLength(bytes, section.offsetBytes, start + 8)
    writeLength(bytes, section.storedBytes, start + 16)
    writeLength(bytes, section.rawBytes, start + 24)
    section.digest.copy(bytes, start + 32)
  }
  sha256(bytes.subarray(0, digestAt)).copy(bytes, digestAt)
  return bytes
}

/** SHA-256 at the header's end. Through the digests in it, it is the digest of the whole file. */
export function digestOf(header: Buffer): Buffer {
  return Buffer.from(header.subarray(digestAt, headerBytes))
}

/**
 * Reads a header and checks that everything it says is possible, so that nobody behind it allocates by a lie.
 *
 * @param bytes of the file's beginning, `headerBytes` where it has that many
 * @param file named in errors
 * @throws RametError `CHECKPOINT_DAMAGED`, `CHECKPOINT_UNFIT` for another version of the format
 */
export function decodeHeader(bytes: Buffer, file: string): Header {
  const wrong = (why: string) => damaged(file, 'header', why)
  if (!magic.equals(bytes.subarray(0, magic.length))) throw wrong('is not that of a checkpoint file')
  if (bytes.length !== headerBytes) throw wrong('is cut off')
  if (!sha256(bytes.subarray(0, digestAt)).equals(bytes.subarray(digestAt))) throw wrong('does not match its checksum')
  checkVersion(bytes.readUInt32LE(at.version), file)
  const header: Header = {
    fileBytes: readLength(bytes, at.fileBytes),
    memoryBytes: readLength(bytes, at.memoryBytes),
    blockPages: bytes.readUInt32LE(at.blockPages),
    sections: sectionKinds.map((_, index) => readSection(bytes, index, wrong)),
  }
  // One encoding for each header: whatever is not written as it would be written here is not ours.
  const isOurs = bytes.readUInt32LE(at.pageBytes) === pageBytes && bytes.equals(encodeHeader(header))
  if (!isOurs) throw wrong('has fields that are not of this format')
  const why = whyImpossible(header)
  if (why !== undefined) throw wrong(why)
  return header
}

function checkVersion(version: number, file: string): void {
  if (version === formatVersion) return
  throw new RametError('CHECKPOINT_UNFIT', {
    message: `${file} has version ${version} of the checkpoint format; this Ramet reads version ${formatVersion}`,
    remediation: `Restore it with a ${version > formatVersion ? 'newer' : 'older'} Ramet, one that reads this version.`,
    details: { file, version, readable: [formatVersion] },
  })
}

function readSection(bytes: Buffer, index: number, wrong: (why: string) => RametError): Section {
  const start = sectionsAt + index * sectionBytes
  const codec = codecs[bytes.readUInt32LE(start + 4)]
  const kind = sectionKinds[index]
  if (codec === undefined || kind === undefined) throw wrong('names an unknown codec')
  return {
    kind,
    codec,
    offsetBytes: readLength(bytes, start + 8),
    storedBytes: readLength(bytes, start + 16),
    rawBytes: readLength(bytes, start + 24),
    digest: Buffer.from(bytes.subarray(start + 32, start + 32 + digestBytes)),
  }
}

/** @returns what contradicts itself or a limit, undefined when nothing does */
function whyImpossible(header: Header): string | undefined {
  const { memoryBytes, blockPages, sections, fileBytes } = header
  if (memoryBytes === 0 || memoryBytes % pageBytes !== 0) return `tells of ${memoryBytes} bytes of memory`
  if (memoryBytes > limits.memoryMaxBytes) return 'tells of more memory than a vm can have'
  if (blockPages === 0 || blockPages > limits.checkpointBlockMaxPages) return `tells of ${blockPages} pages a block`
  let end = sections[0]?.offsetBytes ?? 0
  if (end < headerBytes) return 'tells of sections inside itself'
  const blocksBytes = end - headerBytes
  for (const section of sections) {
    if (section.offsetBytes !== end) return `leaves a gap before its ${section.kind}`
    end += section.storedBytes
    if (section.codec === 'raw' ? section.storedBytes !== section.rawBytes : section.storedBytes >= section.rawBytes)
      return `tells a length of its ${section.kind} that cannot be`
  }
  if (end !== fileBytes) return 'tells another end than its sections have'
  return whyUneven(header, blocksBytes)
}

/** Lengths that follow from each other. */
function whyUneven({ memoryBytes, blockPages, sections }: Header, blocksBytes: number): string | undefined {
  const raw = Object.fromEntries(sections.map((section) => [section.kind, section.rawBytes]))
  const pageCount = memoryBytes / pageBytes
  const storedCount = (raw.order ?? 0) / 4
  const blockCount = Math.ceil(storedCount / blockPages)
  const maxima = {
    devices: limits.deviceStateBytes,
    roms: limits.romBytes,
    locality: largestLocalityBytes(pageCount),
    manifest: limits.checkpointManifestBytes,
  }
  for (const [kind, most] of Object.entries(maxima)) {
    if ((raw[kind] ?? 0) > most) return `tells of ${kind} longer than ${most} bytes`
  }
  const mapBytes = Math.ceil(pageCount / 8)
  if (raw.zeroMap !== mapBytes || raw.baseMap !== mapBytes) return 'tells of page maps of another size than its memory'
  if (!Number.isInteger(storedCount) || storedCount > pageCount) return 'tells of more pages than its memory has'
  if (raw.blocks !== blockCount * blockEntryBytes) return 'tells of another number of blocks than its pages fill'
  // A block has a byte at least: so what a reader allocates for pages is bounded by the file's own length.
  if (blockCount > blocksBytes || (blockCount === 0 && blocksBytes > 0)) return 'tells of blocks that have no room'
  if (sections.find(({ kind }) => kind === 'blocks')?.codec !== 'raw') return 'tells of compressed checksums'
  return undefined
}

function writeLength(bytes: Buffer, value: number, offset: number): void {
  assert(Number.isSafeInteger(value) && value >= 0, 'lengths are whole numbers')
  bytes.writeBigUInt64LE(BigInt(value), offset)
}

/** What is too large for a number becomes one that no check lets pass. */
function readLength(bytes: Buffer, offset: number): number {
  return Math.min(Number(bytes.readBigUInt64LE(offset)), Number.MAX_SAFE_INTEGER)
}
