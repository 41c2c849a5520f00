/** Metrics of the host's memory, as admission sees it, and of the cache in memory that is free (docs/memory.md). */
import { Counter, Gauge, type Registry } from 'prom-client'
import type { CacheStats, HostMemory, HostStats } from '../api/host-stats.ts'

/** @returns shows the figures of a moment */
export function hostMetrics(registry: Registry): (host: HostStats) => void {
  const shows = [...memoryMetrics(registry), ...cacheMetrics(registry)]
  return (host) => {
    for (const show of shows) show(host)
  }
}

type Show = (host: HostStats) => void

function memoryMetrics(registry: Registry): Show[] {
  const registers = [registry]
  const gauge = (name: string, help: string, read: (memory: HostMemory) => number): Show => {
    const metric = new Gauge({ name, help, registers })
    return ({ memory }) => metric.set(read(memory))
  }
  const help = 'Starts of vms that were refused for want of memory.'
  const refused = new Counter({ name: 'starts_refused_total', help, registers })
  return [
    gauge(
      'host_available_bytes',
      'What new work can have, lazily freed memory included, bytes.',
      (m) => m.availableBytes,
    ),
    gauge('host_free_bytes', 'Of that, what can be had at once, bytes.', (m) => m.freeBytes),
    gauge('host_reserve_bytes', 'What starts of vms leave free, bytes.', (m) => m.reserveBytes),
    gauge('host_promised_bytes', 'Promised to starts under way and to restored vms, bytes.', (m) => m.promisedBytes),
    gauge('host_startable_bytes', 'What is left for another start, bytes.', (m) => m.startableBytes),
    ({ memory }) => setCounter(refused, memory.refusedCount),
  ]
}

/** Zeros while no page server runs. */
function cacheMetrics(registry: Registry): Show[] {
  const registers = [registry]
  const gauge = (name: string, help: string, read: (cache: CacheStats) => number | undefined): Show => {
    const metric = new Gauge({ name, help, registers })
    return ({ cache }) => metric.set((cache && read(cache)) ?? 0)
  }
  const counter = (name: string, help: string, read: (cache: CacheStats) => number): Show => {
    const metric = new Counter({ name, help, registers })
    return ({ cache }) => setCounter(metric, cache === undefined ? 0 : read(cache))
  }
  const misses = new Counter({
    ...{ name: 'cache_misses_total', labelNames: ['reason'], registers },
    help: 'Blocks that were not in the cache: absent, or taken (misses by reclaim).',
  })
  return [
    gauge('cache_held_bytes', 'Held by the cache, as far as is known, bytes.', (c) => c.heldBytes),
    gauge('cache_free_held_bytes', 'Of that, free as well: others can have it at once, bytes.', (c) => c.freeHeldBytes),
    gauge(
      'cache_lazy_free_bytes',
      'Lazily freed and not taken yet, as the kernel counts, bytes.',
      (c) => c.lazyFreeBytes,
    ),
    gauge('cache_capacity_bytes', 'The most that the cache would hold, bytes.', (c) => c.capacityBytes),
    gauge('cache_hit_ratio', 'Hits over all reads of the cache.', (c) => c.hitRatio),
    counter('cache_hits_total', 'Blocks that were found in the cache.', (c) => c.hits),
    counter('cache_puts_total', 'Blocks that were put into the cache.', (c) => c.puts),
    counter('cache_served_from_held_total', 'Blocks whose memory served an allocation.', (c) => c.servedFromHeldCount),
    counter('cache_gave_back_bytes_total', 'Given back for starts of vms, bytes.', (c) => c.gaveBackBytes),
    ({ cache }) => {
      misses.reset()
      misses.inc({ reason: 'absent' }, cache?.misses ?? 0)
      misses.inc({ reason: 'taken' }, cache?.lost ?? 0)
    },
  ]
}

/** A counter that somebody else counts. */
function setCounter(counter: Counter, value: number): void {
  counter.reset()
  counter.inc(value)
}
