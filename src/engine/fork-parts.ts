import type { ArmedPool } from './armed-pool.ts'
import type { EngineParts } from './parts.ts'

/** What forking needs beside the rest: processes started ahead. */
export interface ForkParts extends EngineParts {
  armed: ArmedPool
}
