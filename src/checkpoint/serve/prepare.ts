/** From a request to a restore that can begin: everything it needs, opened and checked. */

import { limitSendBuffer, unreadBytes } from '../../host/socket-queue.ts'
import type { PageMap as LocalityMap } from '../../memory/page-tables/page-map.ts'
import type { Clock } from '../../shared/clock.ts'
import { RametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import type { Log } from '../../shared/log.ts'
import type { BlockStore, OpenCheckpoint } from './block-store.ts'
import type { OpenCheckpoints, WantedBase } from './open-checkpoints.ts'
import { blockUse, PageFeed, postcopyBlocks, RomPages } from './page-feed.ts'
import type { RestoreRequest } from './protocol.ts'
import { connectQemu } from './qemu-socket.ts'
import { Record, type WorkingSetFile } from './record.ts'
import { Restore } from './restore.ts'
import type { RestoreTally } from './tally.ts'
import { expectedOf, warmUp } from './warm-up.ts'

/** What restores share. */
export interface ServeContext {
  readonly checkpoints: OpenCheckpoints
  readonly blocks: BlockStore
  readonly clock: Clock
  readonly log: Log
}

export interface PreparedRestore {
  readonly restore: Restore
  readonly record: Record
  /** where the record goes; undefined for nowhere */
  readonly workingSet: WorkingSetFile | undefined
  /** what is to be closed when it is over */
  readonly opened: AsyncDisposableStack
}

/**
 * @throws RametError as `PageServerClient.serve` tells; nothing is left open then
 */
export async function prepareRestore(
  request: RestoreRequest,
  tally: RestoreTally,
  context: ServeContext,
  onFailed: (error: RametError) => void,
): Promise<PreparedRestore> {
  await using opened = new AsyncDisposableStack()
  const open = opened.use(await context.checkpoints.acquire(request)).value
  const { checkpoint } = open
  const wantedBase = wantedBaseOf(request, open)
  const base = wantedBase && opened.use(await context.checkpoints.acquireBase(wantedBase)).value
  const [deviceBlob, romRuns] = await Promise.all([checkpoint.readDeviceState(), checkpoint.readRoms()])
  const roms = new RomPages(romRuns)
  const workingSet = workingSetOf(request, open)
  const expected = await expectedOf(request, open)
  tally.workingSetPages = expected.length
  const stopped = new AbortController()
  opened.defer(() => stopped.abort())
  const use = blockUse(tally, checkpoint.pages.blockCount)
  // Not waited for: what comes first can be pushed while the rest is decompressed.
  void warmUp({ blocks: context.blocks, open, expected, use, signal: stopped.signal })
  const record = new Record(checkpoint.pages.pageCount)
  const parts = {
    ...{ request, open, roms, deviceBlob, tally, record, expected, clock: context.clock, onFailed },
    feed: new PageFeed({ open, base, blocks: context.blocks, use, tally }),
    blocks: postcopyBlocks(open, roms),
    locality: await localityOf(request, open, context.log),
  }
  const connection = await connectQemu(request.qemuSocket, request.qemuProcess)
  opened.defer(() => void connection.destroy())
  limitSendBuffer(connection, limits.pageServerSendBufferBytes)
  const unread = () => unreadBytes(connection)
  return {
    restore: new Restore({ ...parts, connection, unreadBytes: unread }),
    record,
    workingSet,
    opened: opened.move(),
  }
}

/** Only the one that the checkpoint was made over will do: it is told by its content. */
function wantedBaseOf(request: RestoreRequest, { checkpoint }: OpenCheckpoint): WantedBase | undefined {
  const { base, counts } = checkpoint.manifest
  if (counts.base === 0 || base === null) return undefined
  if (request.base === undefined)
    throw new RametError('INVALID_ARGUMENT', {
      message: `the checkpoint of ${request.vmName} needs the memory base ${base.id}, which was not named`,
    })
  return { ...request.base, digest: base.digest }
}

function workingSetOf(request: RestoreRequest, { checkpoint }: OpenCheckpoint): WorkingSetFile | undefined {
  const { workingSetPath: path } = request
  return path === null ? undefined : { path, digest: checkpoint.digest, pageCount: checkpoint.pages.pageCount }
}

/** A hint only. */
async function localityOf(request: RestoreRequest, open: OpenCheckpoint, log: Log): Promise<LocalityMap | undefined> {
  if (request.policy === 'none' || request.policy === 'physical') return undefined
  try {
    return await open.locality()
  } catch (error) {
    log.warn({ restoreId: request.restoreId, err: error }, 'serves without a locality map')
    return undefined
  }
}
