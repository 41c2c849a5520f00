import type { RestoreStats } from '../stats-schema.ts'

const stallMs = { p50: 0, p90: 0, p99: 0, max: 0, total: 0 }

/** Of a restore of which nothing is known. */
export const emptyStats: RestoreStats = {
  demandFaults: 0,
  zeroFaults: 0,
  lateFaults: 0,
  prefetchedPages: 0,
  prefetchedUsedPages: 0,
  filledPages: 0,
  sentPages: 0,
  sentBytes: 0,
  blocksRead: 0,
  blockBytesRead: 0,
  blockHits: 0,
  basePagesRead: 0,
  baseBytesRead: 0,
  state: 'begun',
  elapsedMs: 0,
  neededPages: 0,
  missingPages: 0,
  stallMs,
  fillBytesPerSecond: 0,
  workingSetPages: 0,
  marks: [],
}
