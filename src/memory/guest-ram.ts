/** Where the RAM of a guest lies in its QEMU. */
import { type Mapping, readMaps } from '../host/proc-maps.ts'
import { errnoOf, RametError } from '../shared/errors.ts'
import { memfdNameOf } from './base.ts'

export interface GuestRam {
  readonly pid: number
  /** address of the guest's physical page 0 in QEMU */
  readonly start: number
  readonly sizeBytes: number
  /** the base it lies over; undefined for anonymous memory, which reads as zeros where untouched */
  readonly baseId: string | undefined
}

export interface FindGuestRamOptions {
  pid: number
  sizeBytes: number
  /** the base the vm was started on; absent for a vm whose RAM is anonymous */
  baseId?: string
}

/**
 * Finds guest RAM among the mappings of a QEMU. A vm over a base has it as the private mapping of that
 * very memory file. An ordinary vm has it as the one anonymous private mapping of exactly the RAM's size:
 * QEMU puts an inaccessible page behind each block of RAM and marks it not to be copied at fork, so the
 * kernel merges it with no neighbour.
 *
 * @throws RametError `VMM_FAILED` when the process has ended, or there is not exactly one candidate
 */
export function findGuestRam(options: FindGuestRamOptions): GuestRam {
  let mappings: Mapping[]
  try {
    mappings = readMaps(options.pid)
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT' && errnoOf(error) !== 'ESRCH') throw error
    throw new RametError('VMM_FAILED', { message: `QEMU process ${options.pid} has ended`, cause: error })
  }
  return locateGuestRam(mappings, options)
}

export function locateGuestRam(mappings: readonly Mapping[], options: FindGuestRamOptions): GuestRam {
  const { pid, sizeBytes, baseId } = options
  const candidates = mappings.filter(
    (mapping) =>
      mapping.permissions === 'rw-p' &&
      mapping.end - mapping.start === sizeBytes &&
      mapping.offsetBytes === 0 &&
      (baseId === undefined ? mapping.inode === 0 && mapping.path === '' : isMemfd(mapping, baseId)),
  )
  const [only] = candidates
  if (only === undefined || candidates.length > 1) {
    const over = baseId === undefined ? 'anonymous memory' : `base ${baseId}`
    const message = `QEMU process ${pid} has ${candidates.length} mappings of ${sizeBytes} bytes over ${over}, not one`
    throw new RametError('VMM_FAILED', { message })
  }
  return { pid, start: only.start, sizeBytes, baseId }
}

function isMemfd(mapping: Mapping, baseId: string): boolean {
  return mapping.path === `/memfd:${memfdNameOf(baseId)} (deleted)`
}
