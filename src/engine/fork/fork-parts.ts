import type { EngineParts } from '../parts.ts'
import type { Uses } from '../uses.ts'
import type { ArmedPool } from './armed-pool.ts'

/** What forking needs beside the rest. */
export interface ForkParts extends EngineParts {
  /** processes started ahead */
  armed: ArmedPool
  /** templates, snapshots and images that something is under way with */
  uses: Uses
}
