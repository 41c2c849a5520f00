import type { Clock } from '../../../shared/clock.ts'
import type { RestoreStats } from '../stats-schema.ts'
import { RestoreTally } from '../tally.ts'

const stopped: Clock = { nowMs: () => 0, monotonicMs: () => 0, sleep: () => Promise.resolve() }

/** Of a restore of which nothing is known. */
export const emptyStats: RestoreStats = new RestoreTally(stopped).stats()
