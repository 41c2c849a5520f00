/** What can be done for a restore before its QEMU is there: what the guest needs first is decompressed meanwhile. */

import { limits } from '../../shared/limits.ts'
import type { BlockStore, BlockUse, OpenCheckpoint } from './block-store.ts'
import type { OpenCheckpoints } from './open-checkpoints.ts'
import { pushesWorkingSet } from './policy/choose.ts'
import type { RestoreRequest, RestoreSource } from './protocol.ts'
import { readExpected } from './record.ts'
import type { Lease } from './shared.ts'

/**
 * @returns pages that earlier restores have needed, in that order; none where the policy does not push any, and for a
 *   guest that another server has begun with: what that one pushed is there, the rest is asked for or filled
 */
export async function expectedOf(
  source: RestoreSource & Partial<Pick<RestoreRequest, 'takeOver'>>,
  { checkpoint }: OpenCheckpoint,
): Promise<number[]> {
  const { workingSetPath: path, policy, takeOver } = source
  if (path === null || takeOver === true || !pushesWorkingSet(policy)) return []
  return readExpected({ path, digest: checkpoint.digest, pageCount: checkpoint.pages.pageCount })
}

export interface WarmUp {
  readonly blocks: BlockStore
  readonly open: OpenCheckpoint
  readonly expected: readonly number[]
  /** default: nobody counts */
  readonly use?: BlockUse
  /** fires before the checkpoint may be closed */
  readonly signal: AbortSignal
}

/**
 * Decompresses the blocks of what is expected first, a few at a time so that whoever waits for another one is not behind
 * all of them. What cannot be had is left out without a word: whoever needs it is told then.
 */
export async function warmUp({ blocks, open, expected, use = uncounted, signal }: WarmUp): Promise<void> {
  const { pages } = open.checkpoint
  const wanted = new Set<number>()
  for (const page of expected.slice(0, limits.pageServerFirstPages)) {
    const block = pages.placeOf(page)?.block
    if (block !== undefined) wanted.add(block)
  }
  const queue = wanted.values()
  const follow = async () => {
    for (const block of queue) {
      if (signal.aborted) return
      if (blocks.mayHold(open, block)) continue
      await blocks.load(open, block, 'prefetch', use).catch(() => {})
    }
  }
  await Promise.all(Array.from({ length: limits.pageServerFarAheadBlocks }, follow))
}

const uncounted: BlockUse = { read: () => {}, hit: () => {} }

interface Held {
  readonly lease: Lease<OpenCheckpoint>
  readonly digest: string
  readonly released: AbortController
}

/** Checkpoints that are held open, and warm, for restores that are about to begin. */
export class WarmUps {
  readonly #context: { readonly checkpoints: OpenCheckpoints; readonly blocks: BlockStore }
  readonly #held = new Set<Held>()

  constructor(context: { readonly checkpoints: OpenCheckpoints; readonly blocks: BlockStore }) {
    this.#context = context
  }

  /** @throws RametError as `PageServerClient.prepare` tells */
  async prepare(source: RestoreSource): Promise<void> {
    const { checkpoints, blocks } = this.#context
    const lease = await checkpoints.acquire(source)
    const held = { lease, digest: source.digest, released: new AbortController() }
    this.#held.add(held)
    // For so long that the restore has surely begun, or never will.
    setTimeout(() => void this.#release(held), limits.pageServerWarmMs).unref()
    const { value: open } = lease
    const locality = open.locality().catch(() => undefined)
    const expected = await expectedOf(source, open)
    await Promise.all([locality, warmUp({ blocks, open, expected, signal: held.released.signal })])
  }

  /** A restore of this checkpoint holds it open by itself from now on. */
  async begun(digest: string): Promise<void> {
    await Promise.all([...this.#held].filter((held) => held.digest === digest).map((held) => this.#release(held)))
  }

  async close(): Promise<void> {
    await Promise.all([...this.#held].map((held) => this.#release(held)))
  }

  async #release(held: Held): Promise<void> {
    if (!this.#held.delete(held)) return
    held.released.abort()
    await held.lease[Symbol.asyncDispose]()
  }
}
