import { closeSync, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { RametError } from '../shared/errors.ts'
import { fromSqlite, isBusy } from './sqlite-error.ts'

/** Who runs on a data directory. */
export interface DaemonIdentity {
  readonly pid: number
  /** wall clock, ISO 8601 */
  readonly since: string
  readonly version: string
}

/** Held until released or until the process ends, however it ends. */
export interface DaemonLock extends Disposable {
  release(): void
}

/** Keeps the collector from closing, and so releasing, a lock that its owner no longer looks at. */
const heldLocks = new Set<DatabaseSync>()

/**
 * Makes this process the one daemon of a data directory. The lock is the kernel's (the exclusive lock
 * of an empty SQLite file), so that nothing is left to clean up after a kill; a child does not inherit it.
 *
 * @throws RametError `DAEMON_RUNNING` naming the pid of the daemon that has it
 */
export function lockDaemon(dataDirectory: string, identity: DaemonIdentity): DaemonLock {
  const lockPath = join(dataDirectory, 'daemon.lock')
  const identityPath = join(dataDirectory, 'daemon.json')
  let lock: DatabaseSync
  try {
    if (!existsSync(lockPath)) closeSync(openSync(lockPath, 'a', 0o600))
    lock = new DatabaseSync(lockPath, { timeout: 0 })
  } catch (error) {
    throw fromSqlite(error, lockPath)
  }
  try {
    lock.exec('BEGIN EXCLUSIVE')
    writeFileSync(identityPath, `${JSON.stringify(identity)}\n`, { mode: 0o600 })
  } catch (error) {
    lock.close()
    if (isBusy(error)) throw running(dataDirectory, identityPath)
    throw fromSqlite(error, lockPath)
  }
  heldLocks.add(lock)
  const release = () => {
    heldLocks.delete(lock)
    if (lock.isOpen) lock.close()
  }
  return { release, [Symbol.dispose]: release }
}

function running(dataDirectory: string, identityPath: string): RametError {
  const pid = readPid(identityPath)
  const who = pid === undefined ? 'another process' : `the process with pid ${pid}`
  return new RametError('DAEMON_RUNNING', {
    message: `a Ramet daemon, ${who}, already runs on ${dataDirectory}`,
    details: { dataDirectory, ...(pid === undefined ? {} : { pid }) },
  })
}

/** undefined while the daemon that has the lock has not yet written its identity */
function readPid(identityPath: string): number | undefined {
  try {
    const identity: unknown = JSON.parse(readFileSync(identityPath, 'utf8'))
    return typeof identity === 'object' && identity !== null && 'pid' in identity && typeof identity.pid === 'number'
      ? identity.pid
      : undefined
  } catch {
    return undefined
  }
}
