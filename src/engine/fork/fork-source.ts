import type { TemplateRecord } from '../records.ts'
import { type ArmedChild, type ForkParent, templateParent } from './child.ts'
import type { ForkParts } from './fork-parts.ts'

/** What children are forked from, at the moment of the fork: a template at rest, or the captured state of a vm. */
export interface ForkSource {
  readonly parent: ForkParent
  /** whether the workload stands still in what children load */
  readonly isFrozen: boolean
  /** whether the guest has hooks to run in each child */
  readonly hasForkHooks: boolean
  /** whether the state was saved with the links down, so that children come up without one */
  readonly linksDown: boolean
  /** a process started ahead, if there is one */
  take(): ArmedChild | undefined
  /** the migration stream that each child loads */
  stream(): Promise<Iterable<Buffer>>
}

export function templateSource(parts: ForkParts, template: TemplateRecord): ForkSource {
  return {
    parent: templateParent(template),
    isFrozen: true,
    hasForkHooks: template.hasForkHooks,
    linksDown: true,
    take: () => parts.armed.take(template.id),
    stream: async () => [await parts.streams.of(template)],
  }
}
