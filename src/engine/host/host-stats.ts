import type { CacheStats, HostMemory, HostStats } from '../../api/host-stats.ts'
import type { CacheReport } from '../../checkpoint/serve/cache-schema.ts'
import { asRametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import type { EngineParts } from '../parts.ts'

type StatsParts = Pick<EngineParts, 'admission' | 'context' | 'restores'>

export async function readHostStats(parts: StatsParts): Promise<HostStats> {
  const cache = await readCache(parts)
  const at = new Date(parts.context.clock.nowMs()).toISOString()
  return { at, memory: memoryOf(parts), ...(cache === undefined ? {} : { cache }) }
}

function memoryOf({ admission }: StatsParts): HostMemory {
  const { refusedCount } = admission.counts
  return { ...admission.capacity, refusedCount }
}

/** Of the page server that is connected; none is started for it, and one that does not answer has no figures. */
async function readCache({ admission, context, restores }: StatsParts): Promise<CacheStats | undefined> {
  const { clock, log } = context
  const over = new AbortController()
  try {
    const nothing = () => undefined
    const late = clock.sleep(limits.statsTimeoutMs, over.signal).then(nothing, nothing)
    const report = await Promise.race([restores.pageServer?.cache(), late])
    return report && cacheStats(report, admission.counts.gaveBackBytes)
  } catch (error) {
    log.debug({ error: asRametError(error).message }, 'the page server did not say how its cache does')
    return undefined
  } finally {
    over.abort()
  }
}

function cacheStats(report: CacheReport, gaveBackBytes: number): CacheStats {
  const { hits, misses, lost, replaced } = report
  const reads = hits + misses + lost
  return {
    ...report,
    ...(reads === 0 ? {} : { hitRatio: hits / reads }),
    servedFromHeldCount: replaced + lost,
    gaveBackBytes,
  }
}
