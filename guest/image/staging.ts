/**
 * Directories in the making. A build works in `.building-<pid>-<start time>-<boot>-<random>` beside its result and
 * renames it when all is on disk: whoever sees an image sees a whole one. The name says whose it is, so the next
 * build knows what a dead one has left.
 */
import { randomBytes } from 'node:crypto'
import { chmod, mkdir, open, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import process from 'node:process'
import { bootId, identify, isRunning, type ProcessIdentity } from '../../src/host/process-identity.ts'
import { assert } from '../../src/shared/assert.ts'
import { errnoOf } from '../../src/shared/errors.ts'

const prefix = '.building-'
const namePattern = /^\.building-(\d+)-(\d+)-([0-9a-f-]{36})-([0-9a-f]{16})$/

/** How this process signs its directories and locks. */
export function ownerMark(): string {
  const self = identify(process.pid)
  assert(self !== undefined, 'this process runs')
  return `${self.pid}-${self.startTime}-${bootId()}`
}

export function parseOwnerMark(text: string): ProcessIdentity | undefined {
  const match = /^(\d+)-(\d+)-([0-9a-f-]{36})$/.exec(text)
  if (match === null) return undefined
  return { pid: Number(match[1]), startTime: Number(match[2]), bootId: match[3] ?? '' }
}

/** A new empty directory of this process below `parentDir`. */
export async function createStaging(parentDir: string): Promise<string> {
  const dir = join(parentDir, `${prefix}${ownerMark()}-${randomBytes(8).toString('hex')}`)
  await mkdir(dir, { recursive: true, mode: 0o711 })
  return dir
}

/**
 * Removes what builds left that are no longer running.
 *
 * @param remove how a directory is removed; default `rm -r`
 * @returns the names removed
 */
export async function sweepStaging(
  parentDir: string,
  remove: (path: string) => Promise<void> = removeTree,
): Promise<string[]> {
  const swept: string[] = []
  for (const name of await readdir(parentDir).catch(emptyIfMissing)) {
    const match = namePattern.exec(name)
    if (match === null) continue
    const owner = parseOwnerMark(`${match[1]}-${match[2]}-${match[3]}`)
    if (owner !== undefined && isRunning(owner)) continue
    await remove(join(parentDir, name))
    swept.push(name)
  }
  return swept
}

/**
 * Brings everything in `staging` to disk, makes its files read-only, and gives it its final name.
 *
 * @returns false when another build was first: its result stays, the caller's is still in `staging`
 */
export async function publish(staging: string, parentDir: string, name: string): Promise<boolean> {
  for (const file of await readdir(staging)) {
    const path = join(staging, file)
    await chmod(path, 0o444)
    await fsyncPath(path)
  }
  await chmod(staging, 0o711)
  await fsyncPath(staging)
  try {
    await rename(staging, join(parentDir, name))
  } catch (error) {
    if (errnoOf(error) === 'ENOTEMPTY' || errnoOf(error) === 'EEXIST') return false
    throw error
  }
  await fsyncPath(parentDir)
  return true
}

export async function removeTree(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true })
}

async function fsyncPath(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

function emptyIfMissing(error: unknown): string[] {
  if (errnoOf(error) === 'ENOENT') return []
  throw error
}
