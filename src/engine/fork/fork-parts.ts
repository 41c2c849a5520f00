import type { EngineParts } from '../parts.ts'
import type { ArmedPool } from './armed-pool.ts'
import type { TemplateUses } from './template-uses.ts'

/** What forking needs beside the rest. */
export interface ForkParts extends EngineParts {
  /** processes started ahead */
  armed: ArmedPool
  /** forks under way */
  uses: TemplateUses
}
