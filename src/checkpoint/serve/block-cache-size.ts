import { readMemoryInfo } from '../../host/meminfo.ts'
import { pageBytes } from '../../memory/base.ts'
import { limits } from '../../shared/limits.ts'

const MiB = 1024 * 1024

/** Of the environment of a page server: MiB of address space for decompressed blocks. */
export const blockCacheVariable = 'RAMET_BLOCK_CACHE_MIB'

/** Decompressed, of a block as they are written unless somebody wants it otherwise. Larger ones are not kept. */
export const cachedBlockBytes = limits.checkpointBlockPages * pageBytes

/** @param text what the environment says; what is no size is taken for nothing, since whoever sets it has checked it */
export function blockCacheBytes(text: string | undefined, totalBytes = readMemoryInfo().totalBytes): number {
  const mib = Number(text)
  if (Number.isInteger(mib) && mib >= 1 && mib <= limits.pageServerCacheMaxMiB) return mib * MiB
  return Math.max(MiB, Math.floor(totalBytes * limits.pageServerCachePart))
}
