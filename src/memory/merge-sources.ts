import type { Run } from './base.ts'

/** A stretch of guest RAM and where its content is to be taken from. */
export interface Piece extends Run {
  readonly source: 'vm' | 'base'
}

/**
 * Lays a vm's private runs over the data of its base: what the vm has hides what the base has. Both
 * inputs ascend and do not overlap in themselves; so does the result.
 */
export function mergeSources(vmRuns: readonly Run[], baseRuns: readonly Run[]): Piece[] {
  const pieces: Piece[] = []
  let next = 0
  for (const data of baseRuns) {
    const dataEnd = data.offsetBytes + data.lengthBytes
    // Runs before and within this data; the base shows through the gaps between them.
    for (let run = vmRuns[next]; run !== undefined && run.offsetBytes < dataEnd; run = vmRuns[next]) {
      pushBase(pieces, data.offsetBytes, run.offsetBytes)
      pieces.push({ ...run, source: 'vm' })
      next += 1
    }
    pushBase(pieces, data.offsetBytes, dataEnd)
  }
  for (const run of vmRuns.slice(next)) pieces.push({ ...run, source: 'vm' })
  return pieces
}

/** What is left of a part of the base behind the pieces there are already. */
function pushBase(pieces: Piece[], from: number, to: number): void {
  const last = pieces[pieces.length - 1]
  const start = last === undefined ? from : Math.max(from, last.offsetBytes + last.lengthBytes)
  if (to > start) pieces.push({ offsetBytes: start, lengthBytes: to - start, source: 'base' })
}
