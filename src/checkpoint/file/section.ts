/** One part of the file that is read whole: compressed where that helps, with its digest in the header. */
import { damaged } from './damaged.ts'
import { type Section, type SectionKind, sha256 } from './layout.ts'
import { compress, decompress } from './zstd.ts'

/** Names in messages. */
export const sectionNames: Record<SectionKind, string> = {
  devices: 'device state',
  roms: 'ROMs',
  locality: 'locality map',
  manifest: 'manifest',
  zeroMap: 'zero map',
  baseMap: 'base map',
  order: 'page order',
  blocks: 'block table',
}

/** Stays readable with any tool, and the table of checksums is not compressible anyway. */
const alwaysRaw: readonly SectionKind[] = ['manifest', 'blocks']

export interface EncodedSection {
  readonly section: Section
  readonly stored: Buffer
}

export function encodeSection(kind: SectionKind, raw: Buffer, offsetBytes: number): EncodedSection {
  const frame = alwaysRaw.includes(kind) ? undefined : compress(raw)
  const stored = frame ?? raw
  const section: Section = {
    kind,
    codec: frame === undefined ? 'raw' : 'zstd',
    offsetBytes,
    storedBytes: stored.length,
    rawBytes: raw.length,
    digest: sha256(stored),
  }
  return { section, stored }
}

/**
 * Checks, then decompresses.
 *
 * @throws RametError `CHECKPOINT_DAMAGED`
 */
export function decodeSection(section: Section, stored: Buffer, file: string): Buffer {
  const name = sectionNames[section.kind]
  if (stored.length !== section.storedBytes) throw damaged(file, name, 'is cut off')
  if (!sha256(stored).equals(section.digest)) throw damaged(file, name, 'does not match its checksum')
  if (section.codec === 'raw') return stored
  const raw = decompress(stored, section.rawBytes)
  if (raw === undefined) throw damaged(file, name, 'cannot be decompressed')
  return raw
}
