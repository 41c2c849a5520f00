/** Whether this kernel lets memory be in use and free at once: tried out, since versions and substitutes of Linux differ. */
import { readdirSync, readFileSync } from 'node:fs'
import { advice, type MemoryCalls } from '../host/memory-calls.ts'
import { parseMappingLine } from '../host/proc-maps.ts'
import { errnoOf } from '../shared/errors.ts'
import { mapForRelease } from './kernel-arena.ts'

const pageBytes = 4096
/** more than a processor keeps aside before it puts pages where they can be taken from: it may not be this one's turn */
const trialPages = 256
/** a kernel short of memory may take pages just when they are looked at, or be slow to let go of them */
const trialCount = 3
const hugePageSettings = '/sys/kernel/mm/transparent_hugepage'

/** What is read of the host; injected in tests. */
export interface ArenaReadings {
  /** the chosen words of all settings of huge pages for anonymous memory; empty where the kernel has none */
  hugePages(): string[]
  /** `VmFlags` of the mapping at an address; undefined when they are not told */
  mappingFlags(address: number): string[] | undefined
}

export const arenaReadings: ArenaReadings = {
  hugePages() {
    return ['enabled', ...sizesOf(hugePageSettings).map((size) => `${size}/enabled`)].flatMap((name) => {
      const chosen = /\[(\w+)\]/.exec(readText(`${hugePageSettings}/${name}`))?.[1]
      return chosen === undefined ? [] : [chosen]
    })
  },
  mappingFlags(address) {
    let isWithin = false
    for (const line of readText('/proc/self/smaps').split('\n')) {
      // The kernel joins neighbours that are alike: ours need not begin at the address.
      const mapping = parseMappingLine(line)
      if (mapping !== undefined) isWithin = mapping.start <= address && address < mapping.end
      else if (isWithin && line.startsWith('VmFlags:')) return line.slice('VmFlags:'.length).trim().split(' ')
    }
    return undefined
  },
}

function sizesOf(directory: string): string[] {
  try {
    return readdirSync(directory).filter((name) => name.startsWith('hugepages-'))
  } catch {
    return []
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

/** @returns why memory cannot be had that the kernel may take; undefined when it can */
export function arenaObstacle(calls: MemoryCalls, readings: ArenaReadings = arenaReadings): string | undefined {
  try {
    const { address, bytes } = mapForRelease(calls, trialPages * pageBytes)
    let obstacle: string | undefined
    for (let trial = 0; trial < trialCount; trial += 1) {
      obstacle = releaseObstacle(calls, address, bytes)
      if (obstacle === undefined) break
    }
    obstacle ??= hugePageObstacle(address, readings)
    calls.advise(address, trialPages * pageBytes, advice.drop)
    return obstacle
  } catch (error) {
    return `memory cannot be mapped (${errnoOf(error) ?? messageOf(error)})`
  }
}

/** Released pages must keep their content until they are taken, and lose it when they are. */
function releaseObstacle(calls: MemoryCalls, address: number, bytes: ArrayBuffer): string | undefined {
  const length = trialPages * pageBytes
  const view = new Uint8Array(bytes).fill(1)
  try {
    calls.advise(address, length, advice.free)
  } catch (error) {
    return `the kernel refuses MADV_FREE (${errnoOf(error) ?? messageOf(error)})`
  }
  if (!view.every((byte) => byte === 1)) return 'MADV_FREE takes pages at once on this kernel'
  try {
    calls.advise(address, length, advice.pageOut)
  } catch {
    // Before Linux 5.4 nothing takes pages on request.
    return undefined
  }
  return view.every((byte) => byte === 1) ? 'the kernel does not take pages released by MADV_FREE' : undefined
}

/** With huge pages everywhere, one page in use would keep 511 others, unless the kernel is seen to leave ours alone. */
function hugePageObstacle(address: number, readings: ArenaReadings): string | undefined {
  if (!readings.hugePages().includes('always')) return undefined
  const flags = readings.mappingFlags(address)
  return flags?.includes('nh') ? undefined : 'huge pages are forced on, and MADV_NOHUGEPAGE has no effect'
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
