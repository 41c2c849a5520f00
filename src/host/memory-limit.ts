/** What the control groups above this process let it have. */
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

export interface OwnGroups {
  /** text of `/proc/self/mounts` */
  mounts: string
  /** text of `/proc/self/cgroup` */
  ownGroups: string
}

/** Version 1 says "no limit" by a number close to 2^63. */
const noLimitBytes = 2 ** 60

/**
 * The smallest limit on memory in the groups that this process is in.
 *
 * @returns undefined when there is none, or none that can be read
 */
export function ownMemoryLimitBytes(own: OwnGroups = readOwnGroups()): number | undefined {
  const found = own.mounts.split('\n').flatMap((line) => {
    const [, directory = '', type, options = ''] = line.split(' ')
    if (type === 'cgroup2') return version2Limits(directory, groupOf(own.ownGroups, ''))
    if (type === 'cgroup' && options.split(',').includes('memory'))
      return version1Limits(directory, groupOf(own.ownGroups, 'memory'))
    return []
  })
  return found.length === 0 ? undefined : Math.min(...found)
}

export function readOwnGroups(): OwnGroups {
  const read = (path: string) => readText(path) ?? ''
  return { mounts: read('/proc/self/mounts'), ownGroups: read('/proc/self/cgroup') }
}

export function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}

/** @param controller empty for version 2 */
export function groupOf(ownGroups: string, controller: string): string {
  for (const line of ownGroups.split('\n')) {
    const [, names, ...path] = line.split(':')
    if (names?.split(',').includes(controller)) return path.join(':')
  }
  return '/'
}

/** A group seen from within a container may not be below the mount: then the mount is its own. */
function version1Limits(mount: string, group: string): number[] {
  const stat = readText(join(mount, group, 'memory.stat')) ?? readText(join(mount, 'memory.stat')) ?? ''
  return limitsIn(/^hierarchical_memory_limit (\d+)$/m.exec(stat)?.[1])
}

function version2Limits(mount: string, group: string): number[] {
  const found: number[] = []
  for (let path = group; ; path = dirname(path)) {
    found.push(...limitsIn(readText(join(mount, path, 'memory.max'))?.trim()))
    if (path === '/' || path === '.') return found
  }
}

/** None for text that is no limit. */
export function limitsIn(text: string | undefined): number[] {
  const bytes = Number(text)
  return text !== undefined && /^\d+$/.test(text) && bytes < noLimitBytes ? [bytes] : []
}
