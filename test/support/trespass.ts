import { closeSync, ftruncateSync, openSync, readdirSync, readSync, writeSync } from 'node:fs'
import process from 'node:process'
import { punchHole, reserveSpace } from '../../src/host/memfd.ts'
import { errnoOf } from '../../src/shared/errors.ts'

/** What a compromised QEMU would go for. */
export interface Targets {
  /** a path by which root reaches a base: tried as a descriptor that was inherited, as a QEMU has it */
  base: string
  /** files of templates and images */
  files: readonly string[]
  /** directory of another vm */
  directory: string
  /** memory of another vm's QEMU */
  memory: string
}

/**
 * Tries, with the rights of a vm's user and its group alone, what it must not be able to do.
 *
 * @returns by what was tried: `refused <errno>`, or `done`
 */
export function trespass(uid: number, targets: Targets): Record<string, string> {
  const inherited = openSync(targets.base, 'r+')
  const groups = process.getgroups?.() ?? []
  const outcomes: Record<string, string> = {}
  const attempt = (what: string, act: () => void) => {
    try {
      act()
      outcomes[what] = 'done'
    } catch (error) {
      outcomes[what] = `refused ${errnoOf(error) ?? String(error)}`
    }
  }
  process.setgroups?.([])
  process.setegid?.(uid)
  process.seteuid?.(uid)
  try {
    attempt('write to the base', () => writeSync(inherited, Buffer.from('x'), 0, 1, 4096))
    attempt('punch a hole into the base', () => punchHole(inherited, 0, 4096))
    attempt('reserve over the base', () => reserveSpace(inherited, 0, 2 ** 31))
    attempt('cut the base', () => ftruncateSync(inherited, 4096))
    attempt('open the base of the keeper', () => open(targets.base, 'r+'))
    for (const path of targets.files) attempt(`write ${path}`, () => open(path, 'r+'))
    attempt('list the directory of another vm', () => void readdirSync(targets.directory))
    attempt('open a file in it', () => open(`${targets.directory}/qmp.sock`, 'r'))
    attempt('read the memory of another vm', () => open(targets.memory, 'r'))
    attempt('write the memory of another vm', () => open(targets.memory, 'r+'))
  } finally {
    process.seteuid?.(0)
    process.setegid?.(0)
    process.setgroups?.(groups)
    closeSync(inherited)
  }
  return outcomes
}

function open(path: string, flags: string): void {
  const fd = openSync(path, flags)
  try {
    readSync(fd, Buffer.alloc(1), 0, 1, 0)
  } finally {
    closeSync(fd)
  }
}
