/**
 * A keeper: a tiny sleeping process that holds a base open, so that the base outlives the daemon.
 * A restarted daemon finds the base through the keeper's descriptor; ending the keeper frees the
 * memory once no vm maps it any more.
 */
import { closeSync, readdirSync, readFileSync } from 'node:fs'
import { memfdName, openDescriptorOf } from '../host/memfd.ts'
import { identify, isRunning, type ProcessIdentity, signalProcess, waitForExit } from '../host/process-identity.ts'
import { type SpawnDetached, spawnDetached } from '../host/spawn-detached.ts'
import { errnoOf, RametError } from '../shared/errors.ts'
import { checkSealed, memfdNameOf, type OpenBase } from './base.ts'

const keptFd = 3

/** What the journal stores about a base in memory; plain JSON. */
export interface KeptBase {
  readonly id: string
  /** size of the guest RAM */
  readonly sizeBytes: number
  readonly keeper: ProcessIdentity
}

/**
 * Starts a keeper for a sealed base. The caller's own descriptor stays the caller's.
 *
 * @throws RametError `BASE_DAMAGED` when the base is not sealed; those of `SpawnDetached`
 */
export async function keepBase(base: OpenBase, spawn: SpawnDetached = spawnDetached): Promise<KeptBase> {
  checkSealed(base.fd, base.id, base.sizeBytes)
  const { identity } = await spawn({
    command: '/bin/sleep',
    args: ['infinity'],
    argv0: memfdNameOf(base.id),
    stdio: ['ignore', 'ignore', 'ignore', base.fd],
  })
  return { id: base.id, sizeBytes: base.sizeBytes, keeper: identity }
}

/**
 * Opens a kept base anew, after checking that it is this base, whole and sealed. The descriptor is
 * for handing to QEMU (as an inherited one) or for reading; the caller closes it.
 *
 * @throws RametError `NOT_FOUND` when the keeper has ended, `BASE_DAMAGED` when it holds something else
 */
export function openBase(kept: KeptBase): OpenBase {
  if (!isRunning(kept.keeper)) throw keeperGone(kept)
  let fd: number
  try {
    // Read-write, although it is sealed: what inherits this description may open it so again.
    fd = openDescriptorOf(kept.keeper.pid, keptFd, 'r+')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') throw keeperGone(kept, error)
    throw error
  }
  try {
    const name = memfdName(`/proc/self/fd/${fd}`)
    if (name !== memfdNameOf(kept.id)) {
      throw new RametError('BASE_DAMAGED', { message: `the keeper of base ${kept.id} holds ${name ?? 'another file'}` })
    }
    checkSealed(fd, kept.id, kept.sizeBytes)
  } catch (error) {
    closeSync(fd)
    throw error
  }
  return { id: kept.id, fd, sizeBytes: kept.sizeBytes }
}

/**
 * Finds the keeper of a base whose identity was never written down, because the daemon died right after
 * it started it. Undefined when there is none.
 */
export function findKeeper(baseId: string): ProcessIdentity | undefined {
  const name = memfdNameOf(baseId)
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry) || nameOf(entry) !== name) continue
    const identity = identify(Number(entry))
    if (identity !== undefined) return identity
  }
  return undefined
}

/** What a process calls itself; empty when it has just ended. */
function nameOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')[0] ?? ''
  } catch {
    return ''
  }
}

/** Ends the keeper and waits until it has; the memory is free when the last vm over the base has ended. */
export async function releaseBase(kept: KeptBase, signal?: AbortSignal): Promise<void> {
  if (signalProcess(kept.keeper, 'SIGKILL')) await waitForExit(kept.keeper, signal)
}

function keeperGone(kept: KeptBase, cause?: unknown): RametError {
  return new RametError('NOT_FOUND', {
    message: `memory base ${kept.id} is not in memory: its keeper ${kept.keeper.pid} has ended`,
    remediation: 'It is loaded again from its file at the next use.',
    cause,
  })
}
