import { headerBytes, type SectionKind, sectionKinds, sha256 } from '../layout.ts'

// For tests of what is behind the checksums: files altered by somebody who sets them right again.

/** Offset of a section's entry in the header. */
export function sectionAt(kind: SectionKind): number {
  return 48 + sectionKinds.indexOf(kind) * 64
}

/** Puts right the digests of all sections whose place the header tells, then the header's own. In place. */
export function reseal(bytes: Buffer): Buffer {
  for (const kind of sectionKinds) {
    const at = sectionAt(kind)
    const offset = Number(bytes.readBigUInt64LE(at + 8))
    const length = Number(bytes.readBigUInt64LE(at + 16))
    if (offset + length <= bytes.length) sha256(bytes.subarray(offset, offset + length)).copy(bytes, at + 32)
  }
  sha256(bytes.subarray(0, headerBytes - 32)).copy(bytes, headerBytes - 32)
  return bytes
}
