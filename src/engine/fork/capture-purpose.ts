/** What a vm is captured for: the same is done to it, and refusals say it in other words. */
export type CapturePurpose = 'fork' | 'snapshot'

interface Words {
  /** as in “cannot fork web” */
  verb: string
  /** as in “web could not be forked” */
  done: string
  /** as in “or fork it as it stands” */
  imperative: string
  /** what comes of it */
  outcome: string
  /** what it lacks when the agent took no part */
  withoutAgent: string
  command(name: string): string
}

/** How it is said to people. */
export const wordsOf: Record<CapturePurpose, Words> = {
  fork: {
    verb: 'fork',
    done: 'forked',
    imperative: 'fork it',
    outcome: 'a child',
    withoutAgent: 'for children without an identity of their own and without network',
    command: (name) => `ramet fork ${name}`,
  },
  snapshot: {
    verb: 'snapshot',
    done: 'captured',
    imperative: 'take the snapshot',
    outcome: 'a vm restored of it',
    withoutAgent: 'for a snapshot with its workload as it was caught, no hooks having run',
    command: (name) => `ramet snapshot create ${name}`,
  },
}
