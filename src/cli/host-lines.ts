import type { HostStats } from '../client/index.ts'
import { formatBytes } from '../shared/limits.ts'
import { textTable } from './text-table.ts'

/** The host's memory as admission sees it, and the cache in memory that is free. */
export function hostLines({ memory, cache }: HostStats): string {
  const rows = [
    ['memory', formatBytes(memory.totalBytes)],
    ['available', formatBytes(memory.availableBytes)],
    ['free at once', formatBytes(memory.freeBytes)],
    ['kept free', formatBytes(memory.reserveBytes)],
    ['promised', formatBytes(memory.promisedBytes)],
    ['for new vms', formatBytes(memory.startableBytes)],
    ['starts refused', String(memory.refusedCount)],
  ]
  const host = textTable(['HOST', ''], rows)
  if (cache === undefined) return host
  const ratio = cache.hitRatio === undefined ? '-' : `${Math.round(cache.hitRatio * 100)}%`
  const cached = [
    ['held', formatBytes(cache.heldBytes)],
    ['free but held', formatBytes(cache.freeHeldBytes)],
    ['not taken yet', cache.lazyFreeBytes === undefined ? '-' : formatBytes(cache.lazyFreeBytes)],
    ['hits', `${cache.hits} (${ratio})`],
    ['misses', String(cache.misses)],
    ['misses by reclaim', String(cache.lost)],
    ['served from held', String(cache.servedFromHeldCount)],
    ['given back', formatBytes(cache.gaveBackBytes)],
  ]
  return `${host}\n\n${textTable(['CACHE', cache.kind], cached)}`
}
