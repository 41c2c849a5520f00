import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { readMaps } from '../../src/host/proc-maps.ts'
import { readSmapsRollup } from '../../src/host/smaps.ts'
import { errnoOf } from '../../src/shared/errors.ts'
import { MiB } from './tools.ts'

/** Memory of several processes, shared pages counted once. */
export interface Weight {
  /** pages that only one of them has, swapped ones included */
  privateBytes: number
  /** memory files that they map: inode to what is allocated, in bytes */
  bases: Map<number, number>
  /** resident, each shared page divided among those that map it */
  proportionalBytes: number
}

export function weigh(pids: readonly number[]): Weight {
  const weight: Weight = { privateBytes: 0, bases: new Map(), proportionalBytes: 0 }
  for (const pid of pids) {
    const { anonymousBytes, swappedBytes, proportionalBytes } = readSmapsRollup(pid)
    weight.privateBytes += anonymousBytes + swappedBytes
    weight.proportionalBytes += proportionalBytes
    for (const [inode, bytes] of memoryFilesOf(pid)) weight.bases.set(inode, bytes)
  }
  return weight
}

function memoryFilesOf(pid: number): Map<number, number> {
  const files = new Map<number, number>()
  for (const descriptor of readdirSync(`/proc/${pid}/fd`)) {
    const path = `/proc/${pid}/fd/${descriptor}`
    if (!readlinkSync(path).startsWith('/memfd:')) continue
    const { ino, blocks } = statSync(path)
    files.set(ino, blocks * 512)
  }
  return files
}

/** What `bases` has that was not there before. */
export function newBaseBytes(bases: ReadonlyMap<number, number>, before: ReadonlySet<number>): number {
  return [...bases].reduce((sum, [inode, bytes]) => sum + (before.has(inode) ? 0 : bytes), 0)
}

/** What the kernel could give to programs. */
export function availableBytes(): number {
  return Number(/^MemAvailable: +(\d+) kB/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]) * 1024
}

const pageBytes = 4096

/**
 * Pages of a guest's memory that are not all zeros. Looking makes the kernel allocate holes of its base: look last.
 *
 * @returns undefined when the process may not be looked into
 */
export async function nonZeroBytes(pid: number, memoryBytes: number): Promise<number | undefined> {
  const ram = readMaps(pid).find(
    ({ permissions, start, end, path }) =>
      permissions === 'rw-p' && end - start === memoryBytes && (path === '' || path.startsWith('/memfd:')),
  )
  if (ram === undefined) throw new Error(`process ${pid} has no mapping of ${memoryBytes} bytes`)
  const zeros = Buffer.alloc(pageBytes)
  const buffer = Buffer.alloc(4 * MiB)
  let found = 0
  try {
    await using memory = await open(`/proc/${pid}/mem`, 'r')
    for (let offset = 0; offset < memoryBytes; offset += buffer.length) {
      const length = Math.min(buffer.length, memoryBytes - offset)
      const { bytesRead } = await memory.read(buffer, 0, length, ram.start + offset)
      if (bytesRead !== length) throw new Error(`${bytesRead} of ${length} bytes of guest memory were read`)
      for (let at = 0; at < length; at += pageBytes)
        if (buffer.compare(zeros, 0, pageBytes, at, at + pageBytes) !== 0) found += pageBytes
    }
  } catch (error) {
    if (errnoOf(error) === 'EACCES' || errnoOf(error) === 'EPERM') return undefined
    throw error
  }
  return found
}
