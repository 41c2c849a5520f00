/** What is counted of a restore, and what exactly each figure means. */
import { z } from 'zod'
import { limits } from '../../shared/limits.ts'

const count = z.int().nonnegative()

const countersSchema = z.object({
  /** requests that arrived for pages which had not been sent: what the guest really waited for, pages of zeros included */
  demandFaults: count,
  /** of those, for pages of zeros: answered without reading anything */
  zeroFaults: count,
  /** requests for pages that were already on their way: they cost the guest the rest of that way, and nothing here */
  lateFaults: count,
  /** with content, sent because the policy expected them to be asked for, neither asked for nor part of the background fill */
  prefetchedPages: count,
  /**
   * With content, expected by the policy like those, and withheld when their turn came: whether they are asked for tells how
   * many of those are used (`prefetch-sample.ts`)
   */
  prefetchSampledPages: count,
  /** of these, asked for before everything else had come; each is a demand fault too */
  prefetchSampledUsedPages: count,
  /** sent by the background fill, and not asked for until then */
  filledPages: count,
  /** with content, however they came to be sent; after a takeover, by this server */
  sentPages: count,
  /** of pages sent, zeros without content included; without the device state and QEMU's own framing */
  sentBytes: count,
  /** of the checkpoint that were read and decompressed for this restore; the same one twice when it was forgotten */
  blocksRead: count,
  /** of those blocks, compressed */
  blockBytesRead: count,
  /** blocks that were in memory when this restore first needed them: another one had read them */
  blockHits: count,
  /** pages that are the stored base's */
  basePagesRead: count,
  /** of the stored base that were really read for them, by blocks of 1 MiB; the others were on hand */
  baseBytesRead: count,
})

export type Counters = z.infer<typeof countersSchema>

const stallSchema = z.object({
  p50: z.number().nonnegative(),
  p90: z.number().nonnegative(),
  p99: z.number().nonnegative(),
  max: z.number().nonnegative(),
  /** sum over all demand faults; several processors may wait at once */
  total: z.number().nonnegative(),
})

export const restoreStatsSchema = countersSchema.extend({
  /**
   * `begun`: connecting · `serving` · `completed`: QEMU has confirmed that it has everything · `lost`: the connection broke
   * before · `failed`: a page cannot be had
   */
  state: z.enum(['begun', 'serving', 'completed', 'lost', 'failed']),
  /** since this server was asked to serve it; stands still once it is over */
  elapsedMs: z.number().nonnegative(),
  /** with content, in the whole checkpoint, ROMs included: so many are sent before the end */
  neededPages: count,
  /** of those, still to be sent */
  missingPages: count,
  /**
   * From the arrival of a request at this server to the write of its answer, of demand faults. What the guest waits is
   * longer by QEMU's own way to here and back, and by what is queued in the socket. Within 5 %.
   */
  stallMs: stallSchema,
  /** content sent by the background fill, per second of the time since it began */
  fillBytesPerSecond: z.number().nonnegative(),
  /** pages pushed at the beginning because an earlier restore had needed them */
  workingSetPages: count,
  marks: z
    .array(countersSchema.extend({ name: z.string(), atMs: z.number().nonnegative(), stallMs: stallSchema }))
    .max(limits.pageServerMarkCount),
})

export type RestoreStats = z.infer<typeof restoreStatsSchema>
export type StallFigures = z.infer<typeof stallSchema>
export type RestoreState = RestoreStats['state']
