/**
 * One build of a thing at a time, also among processes. A lock is a symbolic link whose target names its owner:
 * made in one step, readable at once, and told stale when the owner no longer runs.
 * It saves work only; should two builds ever hold it, `publish` lets the first one win.
 */
import { readdir, readlink, symlink, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { isRunning } from '../../src/host/process-identity.ts'
import { type Clock, systemClock } from '../../src/shared/clock.ts'
import { errnoOf } from '../../src/shared/errors.ts'
import { limits } from '../../src/shared/limits.ts'
import { throwIfCancelled } from './command.ts'
import { ownerMark, parseOwnerMark } from './staging.ts'

export interface LockOptions {
  signal?: AbortSignal
  /** told once when somebody else has it */
  onWait?: (ownerPid: number) => void
  clock?: Clock
}

/**
 * Waits until the lock is free and takes it.
 *
 * @throws RametError `CANCELLED`
 */
export async function takeLock(dir: string, name: string, options: LockOptions = {}): Promise<AsyncDisposable> {
  const path = join(dir, `.lock-${name}`)
  const clock = options.clock ?? systemClock
  const mark = ownerMark()
  let told = false
  for (;;) {
    throwIfCancelled(options.signal)
    if (await tryLink(mark, path)) return { [Symbol.asyncDispose]: () => unlink(path).catch(() => undefined) }
    const owner = await readOwner(path)
    if (owner === undefined) continue
    if (!isRunning(owner)) {
      await unlink(path).catch(() => undefined)
      continue
    }
    if (!told) options.onWait?.(owner.pid)
    told = true
    // The owner may be killed, which no event tells a stranger: look again from time to time.
    await clock.sleep(limits.imageLockPollMs, options.signal).catch(() => undefined)
  }
}

/** Removes the locks of processes that are gone. */
export async function sweepLocks(dir: string): Promise<void> {
  for (const name of await readdir(dir)) {
    if (!name.startsWith('.lock-')) continue
    const owner = await readOwner(join(dir, name))
    if (owner !== undefined && !isRunning(owner)) await unlink(join(dir, name)).catch(() => undefined)
  }
}

async function tryLink(mark: string, path: string): Promise<boolean> {
  try {
    await symlink(mark, path)
    return true
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false
    throw error
  }
}

/** Undefined when it was released in the meantime. A lock that nobody can have written counts as a dead owner's. */
async function readOwner(path: string) {
  try {
    return parseOwnerMark(await readlink(path)) ?? { pid: 0, startTime: 0, bootId: '' }
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw error
  }
}
