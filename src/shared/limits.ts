import { assert } from './assert.ts'

const KiB = 1024
const MiB = 1024 * KiB
const GiB = 1024 * MiB

/**
 * Every maximum in Ramet, by name. Passing one is a handled error, never growth.
 * Names end in their unit.
 */
export const limits = {
  // names and requests
  nameChars: 63,
  labelCount: 32,
  labelValueChars: 256,
  environmentBytes: 64 * KiB,
  requestBodyBytes: 1 * MiB,
  forkBodyBytes: 12 * MiB,
  fileBodyBytes: 64 * GiB,
  /** of a guest's file that is read before its length is told */
  fileBufferBytes: 4 * MiB,
  imageBodyBytes: 64 * GiB,
  snapshotBodyBytes: 2 * 1024 * GiB,
  problemIssueCount: 20,
  problemDetailChars: 500,
  listPageRows: 500,
  idempotencyKeyChars: 255,
  idempotencyTtlMs: 24 * 3600_000,
  idempotencyPruneMs: 3600_000,

  // one vm
  memoryMinBytes: 64 * MiB,
  memoryMaxBytes: 1024 * GiB,
  cpuMaxCount: 64,
  diskMaxCount: 8,
  nicMaxCount: 4,
  portMaxCount: 64,
  injectedFileCount: 64,
  injectedFileBytes: 1 * MiB,
  injectedTotalBytes: 8 * MiB,
  ttlRetryMs: 5_000,
  restartResetMs: 60_000,
  ttlMaxMs: 365 * 24 * 3600_000,
  idleMinMs: 1000,
  /** of one processor, that an idle vm may use at most: an idle guest takes 0.003 under emulation */
  idleCpuFraction: 0.05,
  /** how often that is looked at in the time after which a vm is idle */
  idleLookCount: 4,
  consoleBytes: 4 * MiB,
  /** a panic with its trace is about 30 */
  consoleTailLines: 40,

  // one fork call
  forkMaxCount: 100,
  forkParallelCount: 4,
  forkDeltaBytes: 64 * MiB,
  /** that the agent of a vm may take to answer before its fork is given up */
  forkAgentTimeoutMs: 10_000,
  armedMaxCount: 64,

  // QEMU
  qmpMessageBytes: 16 * MiB,
  qmpTimeoutMs: 10_000,
  cpuFeatureCount: 1024,
  qmpConnectTimeoutMs: 20_000,
  vmmLogBytes: 1 * MiB,
  vmmLogSweepMs: 60_000,
  consoleSweepMs: 3_000,
  incomingTimeoutMs: 60_000,
  deviceStateBytes: 64 * MiB,
  romBytes: 16 * MiB,

  // memory bases
  /** kept free at the least, and of a host's memory, unless the settings say otherwise */
  hostReserveBytes: 256 * MiB,
  hostReservePart: 0.02,
  hostReserveMaxMiB: 1024 * 1024,
  /** of the guest's memory, that a booting kernel touches at the most, and besides, before its agent answers */
  bootPart: 1 / 32,
  bootBytes: 192 * MiB,
  comfortableMemoryBytes: 2 * GiB,
  comfortableDiskBytes: 10 * GiB,
  memoryChunkBytes: 4 * MiB,
  /** looked through for changed pages before anybody else has a turn: about a millisecond */
  memoryListBytes: 64 * MiB,
  /** from here on a second thread helps to copy a delta */
  memoryHelpBytes: 16 * MiB,
  /** made resident before anybody else has a turn */
  memoryPopulateBytes: 32 * MiB,

  /** that are kept of a stored base of which single pages are read, 1 MiB each */
  storedBaseCacheCount: 32,

  // choosing how to capture, by what was measured (docs/decisions/0041)
  /** what copying takes besides the copy: stop, devices, continue */
  copyPauseMs: 10,
  copyBytesPerSecond: 4 * GiB,
  backgroundPauseMs: 15,
  backgroundPauseMsPerGiB: 35,
  /** without a goal of the caller, up to here nothing is done to shorten the pause */
  comfortablePauseMs: 100,
  pauseGoalMaxMs: 3600_000,

  // capture in the background
  /** read from the stream at once */
  streamReadBytes: 1 * MiB,
  /** gathered before it is written or compared */
  collectBatchBytes: 1 * MiB,
  /** how soon what QEMU wrote is noticed */
  streamPollMs: 5,
  /** QEMU sends at 0.1 GiB/s and more, however much the guest writes */
  backgroundTimeoutMs: 3600_000,
  /** far beyond what any host does: QEMU's own limit is 128 MiB */
  streamBytesPerSecond: 64 * GiB,

  // page tables of guests, which may hold anything
  /** kinds of kernel halves that are tried */
  pageTableGroupCount: 1024,
  /** tables and mappings beyond what follows from the size of the guest */
  pageTableSpareCount: 1024,
  /** read before anybody else has a turn: about a millisecond */
  pageTableTurnCount: 256,
  /** entries of one address space that make no sense */
  pageTableBadCount: 256,
  /** entries that a process has in the kernel's half of its own */
  pageTableExtraCount: 2,
  pageTableDistanceCount: 16_384,
  /** mappings that are kept for each page of RAM, on average */
  pageTableMappingFactor: 4,

  // memory that is in use and free at once
  /** for a lock that is held for some ten instructions: then its holder has ended in the middle */
  frameLockMs: 2_000,
  /** filled pages that are released together, since a call for each would cost more than filling it */
  arenaReleasePages: 16,
  /** of a control group's limit, for a cache in it */
  arenaGroupPart: 0.5,
  /** blocks below which a cache in memory that can be taken is not worth its while */
  arenaMinBlocks: 16,
  /** of a cache whose memory nobody else can take */
  boundedCacheBytes: 256 * MiB,
  /** that a start waits for memory to be given back; it goes on without, and the giving goes on too */
  giveBackWaitMs: 100,
  /** below this nobody is asked to give anything back */
  giveBackLeastBytes: 4 * MiB,
  /** that the kernel is asked to drop at a time, however large the reserve is wished for */
  reclaimMostBytes: 1024 * MiB,

  // control groups
  cgroupRemoveAttempts: 200,
  cgroupRemovePauseMs: 10,

  // probes of the host
  kvmProbeMs: 2_000,
  probeCommandMs: 10_000,

  // the guest link (see docs/agent-protocol.md)
  framePayloadBytes: 64 * KiB,
  streamWindowBytes: 256 * KiB,
  streamOffsetBytes: 2 ** 40,
  fieldRecordDepth: 4,
  linkStreamCount: 256,
  linkStrayBytes: 1 * MiB,
  linkQueueBytes: 16 * MiB,
  linkHighWaterBytes: 256 * KiB,
  tunnelConnectionCount: 128,
  watchQueueCount: 4_096,
  directoryEntryCount: 100_000,
  commandOutputBytes: 1 * MiB,
  timerMaxMs: 2 ** 31 - 1,
  linkConnectTimeoutMs: 30_000,
  linkRetryMs: 1_000,
  linkRequestTimeoutMs: 30_000,
  guestBootTimeoutMs: 180_000,
  guestShutdownTimeoutMs: 30_000,
  hookTimeoutMs: 30_000,
  freezeTimeoutMs: 10_000,
  clockSkewMs: 50,
  clockCorrectionCount: 3,
  proofCount: 10_000,

  // exec
  execReattachMs: 60_000,
  execCaptureBytes: 1 * MiB,
  /** of one output that the SDK holds for the caller */
  execClientCaptureBytes: 16 * MiB,
  execSocketPingMs: 30_000,
  execSocketCount: 512,

  // building images
  imageCommandStopMs: 10_000,
  imageCommandOutputBytes: 32 * MiB,
  imageErrorLines: 12,
  imageErrorMessageLines: 4,
  imageLogCount: 20,
  imageLockPollMs: 200,
  imageKernelCacheMs: 30 * 24 * 3600_000,
  imageDiskDefaultBytes: 4 * GiB,
  imageDiskMaxBytes: 2 * 1024 * GiB,

  // operations, events
  treeReadCount: 8,
  /** that a record keeps of its lineage */
  ancestorCount: 64,
  statsTimeoutMs: 2_000,
  progressIntervalMs: 100,
  operationHistoryCount: 1_000,
  eventHistoryCount: 1_000,
  eventSubscriberCount: 64,
  eventHeartbeatMs: 15_000,
  eventBacklogBytes: 1 * MiB,
  operationWaitMs: 60_000,

  // the store (the cluster's messages are at most 1 MiB, and a document is one message)
  storeKeyChars: 255,
  storeValueBytes: 1 * MiB - 4 * KiB,
  storeCommitCount: 1_000,
  storeBusyTimeoutMs: 5_000,
  journalIdentBytes: 16 * KiB,
  /** kept for the records on a disk that is full otherwise, so that a removal can be written down */
  storeReserveBytes: 8 * MiB,
  storeReservePieceBytes: 1 * MiB,

  // disks
  diskMaxBytes: 64 * 1024 * GiB,
  /** files in a chain, base included; deeper ones are refused on opening */
  diskChainCount: 8,
  /** of a disk at rest, its base included: a template collapses what would go deeper */
  diskRestCount: 3,
  /** a template's disk is flattened into one file while this much or less must be written for it */
  diskFlattenBytes: 1 * GiB,
  /** kept free on the file system of the data directory, for what already runs */
  diskReserveBytes: 512 * MiB,
  /** that any action may write for its records, beyond what it makes */
  diskActionBytes: 4 * MiB,
  diskHeaderBytes: 64 * KiB,
  diskL1Bytes: 32 * MiB,
  diskCopyChunkBytes: 4 * MiB,
  /** of a delta that a fork copies byte by byte; children stand on a larger one at first, and collapse it later */
  diskCopyBytes: 32 * MiB,
  /** files in a chain while a disk is forked or collapsed, base included */
  diskForkCount: 4,
  /** of one collapse in the background, unless the settings say otherwise */
  diskCollapseMiBPerSecond: 256,
  diskCollapseCount: 2,
  diskJobTimeoutMs: 24 * 3600_000,
  /** between two attempts to bring a disk to rest, when the first has failed */
  diskSettleRetryMs: 60_000,
  /** read at once for a checksum, which then keeps the daemon busy for a millisecond */
  diskDigestChunkBytes: 1 * MiB,
  imageToolOutputBytes: 64 * KiB,

  // checkpoint files (see docs/checkpoint-format.md)
  checkpointManifestBytes: 1 * MiB,
  /** of one block unless told otherwise, and at most */
  checkpointBlockPages: 32,
  checkpointBlockMaxPages: 256,
  checkpointWorkerCount: 4,
  /** of a locality map; a longer one is left out */
  checkpointLocalityBytes: 256 * MiB,
  /** requests for parts of a checkpoint on another host, at the same time */
  rangeParallelCount: 8,
  rangeAttemptCount: 5,
  /** without a byte */
  rangeTimeoutMs: 10_000,
  /** before the second attempt, twice as long before each further one */
  rangeRetryMs: 100,
  /** of the newest restores, kept beside a checkpoint */
  workingSetCount: 4,

  // restoring a vm
  /** page servers that may die under one restore before its guest runs */
  restoreAttemptCount: 5,
  /** between attempts to find a page server for a guest that runs */
  restoreRetryMs: 1_000,

  // the page server (see docs/page-server.md)
  /** of one line of its control protocol */
  pageServerLineBytes: 4 * MiB,
  /** unfinished and not yet dropped, at once */
  pageServerRestoreCount: 1024,
  /** named moments of one restore */
  pageServerMarkCount: 16,
  /** that tests and measurements may add to a read */
  pageServerDelayMaxMs: 10_000,
  /** sent in one piece: by the background fill when nobody waits, and while a guest asks for pages */
  pageServerBurstPages: 32,
  pageServerSmallBurstPages: 8,
  /** after the last request: then nobody waits */
  pageServerQuietMs: 2,
  /** of the background fill while a guest asks for pages */
  pageServerBusyBytesPerSecond: 40 * MiB,
  /** that QEMU may not have taken yet when more is filled in, while a guest asks for pages */
  pageServerBusyQueueBytes: 16 * KiB,
  /** that the kernel may hold for one QEMU, which it doubles */
  pageServerSendBufferBytes: 64 * KiB,
  /** blocks that were just used, of all restores together: the others are in the cache, or read again */
  pageServerHotBlocks: 64,
  /** of the host's memory: address space of the cache of decompressed blocks, whose memory others can take */
  pageServerCachePart: 0.5,
  /** of the fill's blocks, when the cache is full: one of so many replaces another */
  pageServerFillPutEvery: 16,
  pageServerCacheMaxMiB: 1024 * 1024,
  /** given back before guests have a turn: some milliseconds */
  pageServerGiveBackBytes: 16 * MiB,
  pageServerWorkerCount: 4,
  /** checked blocks of a stored base, 1 MiB each, of all restores over it together: what else was read is in the cache */
  pageServerBaseCacheCount: 4,
  /** blocks that are decompressed ahead of what is sent, and asked a far store for */
  pageServerAheadBlocks: 4,
  pageServerFarAheadBlocks: 16,
  /** written to one QEMU and not yet taken by it, before nothing more is read from it */
  pageServerQueueBytes: 16 * MiB,
  /** of what earlier restores have needed: decompressed before QEMU is connected to */
  pageServerFirstPages: 6144,
  /** for which what was prepared is held for the restore that should follow */
  pageServerWarmMs: 30_000,
  /** that a policy expected and that were not sent yet */
  pageServerExpectedPages: 4096,
  /** after a read that failed for another reason than a damaged file: the first pause, the longest, and how often */
  pageServerRetryMs: 100,
  pageServerRetryMaxMs: 5_000,
  pageServerRetryCount: 60,
  /** of needed pages: what a working set holds at most */
  pageServerWorkingSetShare: 0.75,
  /** one in so many pages that would be prefetched is withheld (`prefetch-sample.ts`): in large restores, and in small ones */
  pageServerSampleEveryMax: 1024,
  pageServerSampleEveryMin: 256,
  /** withheld where all needed pages are prefetched, in restores between those */
  pageServerSamplePages: 32,
  /** withheld, before a ratio is told of them: its standard error is 12.5 points at most then */
  pageServerSampleLeastPages: 16,
  /** without a client and without an unfinished restore, before it ends */
  pageServerIdleMs: 30_000,
  pageServerLogBytes: 1 * MiB,
  pageServerStartTimeoutMs: 20_000,
  pageServerRequestTimeoutMs: 60_000,
} as const

// Relations between limits, checked when Ramet starts.
assert(limits.framePayloadBytes <= limits.streamWindowBytes, 'a whole frame fits into a stream window')
assert(limits.forkParallelCount <= limits.forkMaxCount, 'parallel forks within a call')
assert(limits.diskRestCount < limits.diskChainCount, 'a disk at rest may grow for a while during a fork')
assert(
  (limits.injectedTotalBytes / 3) * 4 + limits.requestBodyBytes <= limits.forkBodyBytes,
  'injected files fit into a fork',
)
assert(limits.environmentBytes <= limits.requestBodyBytes, 'an environment fits into a request')

/** Thousands of bytes and up as people read them: `512 KiB`, `1.5 GiB`. */
export function formatBytes(bytes: number): string {
  if (bytes < KiB) return `${bytes} B`
  const units = ['KiB', 'MiB', 'GiB', 'TiB']
  let value = bytes / KiB
  let unit = 0
  while (value >= KiB && unit < units.length - 1) {
    value /= KiB
    unit += 1
  }
  return `${value >= 100 || Number.isInteger(value) ? Math.round(value) : value.toFixed(1)} ${units[unit]}`
}
