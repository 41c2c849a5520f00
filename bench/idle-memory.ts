import { setTimeout as sleep } from 'node:timers/promises'
import type { RunTools } from './fork-runs.ts'
import { forkOne } from './fork-runs.ts'

export interface IdleMemory {
  /** after how long, milliseconds */
  afterMs: number
  /** guest memory that is the child's own */
  guestPrivateBytes: number
  /** guest memory read from the base */
  guestSharedBytes: number
  /** QEMU's own, beside the guest's */
  vmmBytes: number
}

/** What children cost that only exist: nothing is asked of them between their fork and the look. */
export async function measureIdleMemory(tools: RunTools, childCount: number, afterMs: number): Promise<IdleMemory[]> {
  const found: IdleMemory[] = []
  tools.say(`letting ${childCount} children be for ${afterMs / 1000} s`)
  await using children = new AsyncDisposableStack()
  const forked = []
  for (let index = 0; index < childCount; index += 1) forked.push(children.use(await forkOne(tools.template)))
  await sleep(afterMs, undefined, { signal: tools.signal })
  for (const child of forked) {
    const { memory } = await child.stats()
    found.push({
      afterMs,
      guestPrivateBytes: memory.privateBytes,
      guestSharedBytes: memory.sharedBytes,
      vmmBytes: memory.vmmBytes,
    })
  }
  return found
}
