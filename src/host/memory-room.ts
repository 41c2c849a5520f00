/** What the control groups above this process have left for it. */
import { dirname, join } from 'node:path'
import { groupOf, limitsIn, type OwnGroups, readOwnGroups, readText } from './memory-limit.ts'

export interface MemoryRoom {
  /** of the group that has the least room */
  limitBytes: number
  /** what it can still be charged with: what is not used, and what the kernel drops before it refuses */
  availableBytes: number
  /** of that, what is not used: nothing has to be dropped for it */
  freeBytes: number
}

interface Files {
  limit: string
  usage: string
  /** in `memory.stat`: what the kernel can drop, lazily freed memory among it */
  droppable: RegExp
}

// A group is charged for lazily freed pages until they are taken. They lie on the list of inactive file pages.
const version1: Files = {
  limit: 'memory.limit_in_bytes',
  usage: 'memory.usage_in_bytes',
  droppable: /^total_(?:in)?active_file (\d+)$/gm,
}
const version2: Files = { limit: 'memory.max', usage: 'memory.current', droppable: /^(?:in)?active_file (\d+)$/gm }

/**
 * The room in the tightest of the groups that this process is in.
 *
 * @returns undefined when no group has a limit that can be read
 */
export function ownMemoryRoom(own: OwnGroups = readOwnGroups()): MemoryRoom | undefined {
  const rooms = own.mounts.split('\n').flatMap((line) => {
    const [, directory = '', type, options = ''] = line.split(' ')
    if (type === 'cgroup2') return roomsAbove(directory, groupOf(own.ownGroups, ''), version2)
    if (type === 'cgroup' && options.split(',').includes('memory'))
      return roomsAbove(directory, groupOf(own.ownGroups, 'memory'), version1)
    return []
  })
  return rooms.sort((one, other) => one.availableBytes - other.availableBytes)[0]
}

function roomsAbove(mount: string, group: string, files: Files): MemoryRoom[] {
  const found: MemoryRoom[] = []
  for (let path = group; ; path = dirname(path)) {
    found.push(...roomIn(join(mount, path), files))
    if (path === '/' || path === '.') return found
  }
}

function roomIn(directory: string, { limit, usage, droppable }: Files): MemoryRoom[] {
  const read = (file: string) => readText(join(directory, file)) ?? ''
  const [limitBytes] = limitsIn(read(limit).trim())
  if (limitBytes === undefined) return []
  const freeBytes = Math.max(0, limitBytes - Number(read(usage)))
  const dropped = [...read('memory.stat').matchAll(droppable)].reduce((sum, [, bytes]) => sum + Number(bytes), 0)
  return [{ limitBytes, freeBytes, availableBytes: Math.min(limitBytes, freeBytes + dropped) }]
}
