/** What a page server tells of its cache of decompressed blocks; `opportunistic/cache.ts` says what each figure means. */
import { z } from 'zod'
import type { CacheFigures, CacheKind } from '../../opportunistic/cache.ts'

const count = z.int().nonnegative()

export const cacheReportSchema = z.object({
  kind: z.enum(['kernel', 'free-list', 'lru'] satisfies CacheKind[]),
  heldBytes: count,
  freeHeldBytes: count,
  capacityBytes: count,
  hits: count,
  misses: count,
  lost: count,
  puts: count,
  refused: count,
  replaced: count,
  /** of the whole process, as the kernel counts it: released and not taken yet; absent where it does not tell */
  lazyFreeBytes: count.exactOptional(),
} satisfies Record<keyof CacheFigures | 'kind' | 'lazyFreeBytes', unknown>)

/** Counted since the server has started; there is one cache for all restores of a data directory. */
export type CacheReport = z.infer<typeof cacheReportSchema>
