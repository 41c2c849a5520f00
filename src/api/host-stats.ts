import { z } from 'zod'
import { Bytes, Time } from './primitives.ts'

const count = z.int().nonnegative()

export const HostMemory = z
  .object({
    totalBytes: Bytes.describe('Memory of the host, or of the control group that the daemon is in, bytes.'),
    availableBytes: Bytes.describe(
      'What new work can have without swapping, memory that caches have freed lazily included, bytes.',
    ),
    freeBytes: Bytes.describe('Of that, what can be had at once, nothing having to be dropped for it, bytes.'),
    reserveBytes: Bytes.describe('What starts of vms leave free (`memory_reserve_mib`), bytes.'),
    promisedBytes: Bytes.describe('Promised to starts under way and to restored vms whose memory still comes, bytes.'),
    startableBytes: Bytes.describe('What is left for another start: available less reserve and promises, bytes.'),
    refusedCount: count.describe('Starts that were refused for want of memory since the daemon began.'),
  })
  .meta({ id: 'HostMemory', description: 'Memory of the host, as admission of vms sees it.' })
export type HostMemory = z.infer<typeof HostMemory>

export const CacheStats = z
  .object({
    kind: z
      .enum(['kernel', 'free-list', 'lru'])
      .describe('Who can take its memory: anybody, through the kernel; others of its process; nobody.'),
    heldBytes: Bytes.describe('Held, as far as is known: what was taken counts until somebody asks for it, bytes.'),
    freeHeldBytes: Bytes.describe('Of that, free as well: others can have it at once, bytes.'),
    lazyFreeBytes: Bytes.optional().describe('What the kernel still counts as lazily freed of that process, bytes.'),
    capacityBytes: Bytes.describe('The most that it would hold, bytes.'),
    hits: count.describe('Reads that found their block.'),
    misses: count.describe('Reads of blocks that were never put, or had given way.'),
    lost: count.describe('Misses by reclaim: reads that found the memory of their block taken.'),
    hitRatio: z.number().min(0).max(1).optional().describe('Hits over all reads; absent before the first.'),
    puts: count.describe('Blocks that were put.'),
    refused: count.describe('Blocks that were not kept.'),
    replaced: count.describe('Blocks that gave way: to newer ones, or to a start of a vm.'),
    servedFromHeldCount: count.describe(
      'Allocations served from held memory, as far as is known, in blocks: `replaced`, and `lost`, which the kernel gave to others without a word.',
    ),
    gaveBackBytes: Bytes.describe('Given back for starts of vms since the daemon began, bytes.'),
  })
  .meta({ id: 'CacheStats', description: 'Blocks of checkpoints in memory that is free at the same time.' })
export type CacheStats = z.infer<typeof CacheStats>

export const HostStats = z
  .object({
    at: Time.describe('When this was measured.'),
    memory: HostMemory.describe('What there is for vms.'),
    cache: CacheStats.optional().describe(
      'Cache of the page server, counted since that began; absent while none runs.',
    ),
  })
  .meta({ id: 'HostStats', description: 'What the host has, and what is held in memory that is free.' })
export type HostStats = z.infer<typeof HostStats>
