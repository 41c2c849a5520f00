/** Telling pages of zeros from others, fast. */
import { pageBytes, type Run } from './base.ts'

const zeroPage = Buffer.alloc(pageBytes)

export function isZeroPage(bytes: Buffer, offsetBytes: number): boolean {
  // Most pages that are not zero show it in their first word; the comparison is one call into C++.
  if (bytes[offsetBytes] !== 0) return false
  return zeroPage.compare(bytes, offsetBytes, offsetBytes + pageBytes) === 0
}

/** A stretch of a buffer that is all zeros, or has no page of zeros. */
export interface Stretch extends Run {
  readonly zero: boolean
}

/** Cuts whole pages into stretches, ascending and without gaps; offsets are into `bytes`. */
export function splitByZero(bytes: Buffer): Stretch[] {
  const stretches: Stretch[] = []
  let start = 0
  let zero = bytes.length > 0 && isZeroPage(bytes, 0)
  for (let at = pageBytes; at < bytes.length; at += pageBytes) {
    if (isZeroPage(bytes, at) === zero) continue
    stretches.push({ offsetBytes: start, lengthBytes: at - start, zero })
    start = at
    zero = !zero
  }
  if (start < bytes.length) stretches.push({ offsetBytes: start, lengthBytes: bytes.length - start, zero })
  return stretches
}
