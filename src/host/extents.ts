/** Where a sparse file has data. */
import { errnoOf } from '../shared/errors.ts'
import { check, lseekRaw } from './libc.ts'

const seekData = 3
const seekHole = 4

export interface Extent {
  readonly offsetBytes: number
  readonly lengthBytes: number
}

/** The parts of a file that are not holes, ascending. Moves the descriptor's position. */
export function dataExtents(fd: number, sizeBytes: number): Extent[] {
  const extents: Extent[] = []
  for (let at = 0; at < sizeBytes; ) {
    const start = seek(fd, at, seekData)
    if (start === undefined || start >= sizeBytes) break
    const end = Math.min(seek(fd, start, seekHole) ?? sizeBytes, sizeBytes)
    extents.push({ offsetBytes: start, lengthBytes: end - start })
    at = end
  }
  return extents
}

/** Undefined when there is no data behind that place. */
function seek(fd: number, offset: number, whence: number): number | undefined {
  try {
    return Number(check('lseek', lseekRaw(fd, offset, whence)))
  } catch (error) {
    if (errnoOf(error) === 'ENXIO') return undefined
    throw error
  }
}
