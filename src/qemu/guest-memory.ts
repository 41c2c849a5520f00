import { RametError } from '../shared/errors.ts'
import { formatBytes, limits } from '../shared/limits.ts'

const KiB = 1024
const MiB = 1024 * KiB

/**
 * Dirty-page tracking of QEMU 7.2 under TCG loses writes when a RAM block's length is a multiple of
 * 64 pages; then a live migration corrupts the guest without a word. So no guest has such a RAM size.
 */
const trackingUnitBytes = 256 * KiB

/** QEMU rounds RAM sizes up to this, so it is also the smallest step away from the unit above. */
const memoryStepBytes = 8 * KiB

/**
 * The RAM size that a guest really gets for the size that was asked for: in whole MiB, plus 8 KiB.
 * Every length of guest RAM, base and image in Ramet is this one.
 *
 * @throws RametError `INVALID_ARGUMENT` outside the limits
 */
export function guestMemoryBytes(askedBytes: number): number {
  if (!Number.isSafeInteger(askedBytes) || askedBytes < limits.memoryMinBytes || askedBytes > limits.memoryMaxBytes)
    throw new RametError('INVALID_ARGUMENT', {
      message: `memory of ${formatBytes(askedBytes)} is outside ${formatBytes(limits.memoryMinBytes)} to ${formatBytes(limits.memoryMaxBytes)}`,
    })
  const wholeBytes = Math.ceil(askedBytes / MiB) * MiB
  return wholeBytes % trackingUnitBytes === 0 ? wholeBytes + memoryStepBytes : wholeBytes
}
