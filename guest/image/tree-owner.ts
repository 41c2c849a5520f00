/**
 * Trees with files of many owners. Root handles them as they are. An ordinary user does it in a user namespace,
 * in which her subordinate ids are root and the others; from outside she can neither write nor remove such files.
 */
import process from 'node:process'
import { errnoOf } from '../../src/shared/errors.ts'
import type { RunCommand } from './command.ts'
import { removeTree } from './staging.ts'

export function ownsTreesItself(): boolean {
  return process.getuid?.() === 0
}

/** Runs programs as who owns such trees. */
export function asTreeOwner(run: RunCommand): RunCommand {
  if (ownsTreesItself()) return run
  return (command, args, options) => run('mmdebstrap', ['--unshare-helper', command, ...args], options)
}

/** Removes a directory that may hold such a tree. */
export async function removeAsTreeOwner(path: string, run: RunCommand): Promise<void> {
  try {
    await removeTree(path)
  } catch (error) {
    if (ownsTreesItself() || !['EACCES', 'EPERM'].includes(errnoOf(error) ?? '')) throw error
    // What is left of it belongs to the namespace; the directory itself is the user's own again.
    await asTreeOwner(run)('rm', ['-rf', '--', path]).catch(() => undefined)
    await removeTree(path)
  }
}
