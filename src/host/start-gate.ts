import { closeSync } from 'node:fs'
import { check, flockRaw } from './libc.ts'
import { createMemfd } from './memfd.ts'
import type { DetachedProcess, SpawnDetached, SpawnDetachedOptions } from './spawn-detached.ts'

const lockExclusive = 2
const lockRelease = 8

/** Descriptor that a gated program inherits; it need not do anything with it. */
const gateFd = 3

/**
 * Starts a program that waits, before its first instruction, until `prepare` has returned: time to put the
 * process where it shall be. It is `flock` that waits, for a lock that we hold, and then becomes the program
 * (same pid). Should this daemon die in between, it waits for ever, since it has inherited the lock itself.
 *
 * @throws what `prepare` throws, the process then being told to end; those of `SpawnDetached`
 */
export async function spawnGated(
  spawn: SpawnDetached,
  options: SpawnDetachedOptions,
  prepare: (process: DetachedProcess) => void,
): Promise<DetachedProcess> {
  const fd = createMemfd('ramet-gate', 0)
  try {
    check('flock', flockRaw(fd, lockExclusive))
    const stdio = options.stdio ?? ['ignore', 'ignore', 'ignore']
    const started = await spawn({
      ...options,
      command: 'flock',
      args: ['--no-fork', `/proc/self/fd/${gateFd}`, options.command, ...options.args],
      stdio: [...stdio.slice(0, gateFd), fd],
    })
    try {
      prepare(started)
    } catch (error) {
      started.child.kill('SIGKILL')
      throw error
    }
    check('flock', flockRaw(fd, lockRelease))
    return started
  } finally {
    closeSync(fd)
  }
}
