import { z } from 'zod'
import { Bytes, Milliseconds } from './primitives.ts'

const pages = (what: string) => z.int().nonnegative().describe(what)

/** Figures of a restore at one moment: all counted since it began. */
export const RestoreFigures = z
  .object({
    elapsedMs: Milliseconds.describe('Since the page server began it, milliseconds.'),
    demandFaults: pages('Pages that a processor or device of the guest waited for, zeros left out.'),
    zeroFaults: pages('Pages of zeros that were waited for; they are answered without reading anything.'),
    prefetchedPages: pages(
      'Pages sent ahead: beside one that was waited for, or as part of a recorded working set; zeros left out.',
    ),
    prefetchSampledPages: pages(
      'Pages that would have been sent ahead too, and were withheld to see whether they would be asked for.',
    ),
    prefetchSampledUsedPages: pages('Of these, those that were asked for before all other memory had come.'),
    prefetchHitRatio: z
      .number()
      .min(0)
      .max(1)
      .optional()
      .describe(
        'Share of the pages sent ahead that the guest used, estimated by those withheld; absent where too few were.',
      ),
    prefetchedUsedPages: pages('Pages sent ahead that the guest used: that share of them, an estimate.').optional(),
    sentPages: pages('Pages sent, for whatever reason.'),
    neededPages: pages('Pages that have to be sent in all: those that are not zeros.'),
    sentBytes: Bytes.describe('Guest memory sent, bytes.'),
    readBytes: Bytes.describe('Read from the checkpoint, bytes.'),
    blocksRead: pages('Blocks of the checkpoint that were read and decompressed.'),
    blockHits: pages('Blocks that were in memory instead, since they had been read for another restore.'),
    stallMs: Milliseconds.describe('Sum of the times from the arrival of a request until its page was written.'),
    stallP50Ms: Milliseconds.describe('Half of the requests were answered within this, milliseconds.'),
    stallP99Ms: Milliseconds.describe('Of a hundred, 99 were, milliseconds.'),
  })
  .meta({ id: 'RestoreFigures', description: 'What a lazy restore has cost until some moment.' })
export type RestoreFigures = z.infer<typeof RestoreFigures>

/**
 * filling: it runs, its memory still comes · interrupted: nobody serves its memory, so it stands where it needs more ·
 * failed: some of its memory cannot come, so it stands for good where it needs that · done: it stands on its own
 */
export const restoreStates = ['filling', 'interrupted', 'failed', 'done'] as const
export type RestoreState = (typeof restoreStates)[number]

export const RestoreReport = z
  .object({
    id: z.string().describe('Id of this restore.'),
    snapshotId: z.string().optional().describe('Snapshot that it is of; absent for a vm that was paused to disk.'),
    state: z.enum(restoreStates).describe('Whether its memory is all there.'),
    policy: z.string().describe('What was brought along with a page that was waited for.'),
    problem: z.string().optional().describe('Why some of its memory cannot come, a sentence.'),
    recordedPages: pages('Pages of the recorded working set that it began with.'),
    interruptions: z.int().nonnegative().describe('How often another page server took it up again.'),
    now: RestoreFigures.optional().describe('Until now, or its end.'),
    atReady: RestoreFigures.optional().describe('Until its agent had answered.'),
    atFirstExec: RestoreFigures.optional().describe('Until its first command had ended.'),
  })
  .meta({ id: 'RestoreReport', description: 'How the memory of a restored vm comes.' })
export type RestoreReport = z.infer<typeof RestoreReport>
