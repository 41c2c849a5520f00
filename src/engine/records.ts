/** What is stored of each thing. The API's view of it is made from this and from what runs (`*-view.ts`). */
import type { Problem } from '../api/problem.ts'
import type { RestoreReport } from '../api/restore.ts'
import type { SnapshotMemory, SnapshotState } from '../api/snapshot.ts'
import type { Timings } from '../api/timings.ts'
import type { IdlePolicy, Network, RestartPolicy, VmFailure, VmLimits, VmState } from '../api/vm.ts'
import type { FileStamp } from '../disk/file-stamp.ts'
import type { ProcessIdentity } from '../host/process-identity.ts'
import type { KeptBase } from '../memory/keeper.ts'
import type { MachineDescription } from '../qemu/machine-description.ts'
import { RametError } from '../shared/errors.ts'

export interface PortRecord {
  guestPort: number
  hostPort: number
  hostAddress: string
}

export interface DiskRecord {
  /** size that the guest sees */
  sizeBytes: number
  /** immutable file under the delta, relative to the data directory or `image:` + path in the image; absent for an empty disk */
  base?: DiskBase
  /** frozen deltas between its own delta and the base, nearest first: to be collapsed */
  frozen?: string[]
  /** id of the frozen delta that its own level 0 is for now, since others read it */
  lent?: string
}

export interface DiskBase {
  /** whose file it is; says which directory `file` is in */
  owner: 'image' | 'template'
  ownerId: string
  file: string
}

/** A vm or template that something came from, which may be gone by now. */
export interface Ancestor {
  kind: 'template' | 'vm' | 'snapshot'
  id: string
  /** at that time */
  name: string
}

export interface NicRecord {
  network: Network
  mac: string
}

export interface VmRecord {
  schemaVersion: 1
  id: string
  name: string
  state: VmState
  stateReason?: string
  source: { kind: 'image' | 'template' | 'vm' | 'snapshot'; id: string; name: string }
  imageId: string
  /** name:tag at that time */
  imageName: string
  /** template or vm it was forked from */
  parentId?: string
  /** what it came from, oldest first, its parent or the source of a clone last; a vm that was booted has none */
  ancestors?: Ancestor[]
  /** template whose base it maps */
  templateId?: string
  generation: number
  depth: number
  forkIndex?: number
  /** forked without its agent: the guest believes to be its parent, so its links stay down until it boots again */
  identity?: 'none'
  /** false: forked without a freeze, its workload executed before its identity was proved */
  frozenAtFork?: false
  /** its workload is frozen in it while it is paused, since it was forked so: to be thawed when it goes on */
  frozenWhilePaused?: true
  /** its guest came back from disk and was not told so: identity, clock and links are to follow when it goes on */
  untold?: true
  /** while it is captured: it was paused before, and is to be so again */
  capturedPaused?: true
  hostname: string
  /** small number that nothing else on this host has: its user id and its addresses follow from it */
  seat: number
  /** memory base that its running QEMU maps; absent for fresh memory */
  baseId?: string
  /** UUID that the vmgenid device shows */
  generationId: string
  init: 'agent' | 'system'
  machine: MachineDescription
  disks: DiskRecord[]
  nics: NicRecord[]
  link: 'up' | 'down'
  labels: Record<string, string>
  environment: Record<string, string>
  ports: PortRecord[]
  limits: VmLimits
  restart: RestartPolicy
  restartCount: number
  idle?: IdlePolicy
  /** it paused by itself, and whoever calls it may resume it; from `pausing` on until it runs or ends */
  idlePaused?: true
  ttlMs?: number
  /** wall clock; absent while paused, when `ttlLeftMs` holds what is left */
  expiresAtMs?: number
  ttlLeftMs?: number
  process?: ProcessIdentity
  /** helpers such as passt */
  helpers: ProcessIdentity[]
  agentProtocol?: number
  /** its memory and devices are on disk while it is suspended, and until they have come back */
  suspended?: SuspendedRecord
  /** what it was before it began to go back to a snapshot, until its guest runs at that moment */
  goingBack?: GoingBackRecord
  /** how its memory comes, or came, if it runs since it was restored lazily */
  restore?: RestoreRecord
  failure?: VmFailure
  timings?: Timings
  createdAtMs: number
  startedAtMs?: number
  stoppedAtMs?: number
}

/** A checkpoint file, and what it takes to read it. */
export interface CheckpointRecord {
  /** SHA-256 that stands for the whole file, hex */
  digest: string
  fileBytes: number
  /** template whose stored base some of its pages are read from */
  baseOf?: string
  /** guest memory that comes to whatever is restored of it: all but zeros; absent in older records */
  guestBytes?: number
}

/** What a vm becomes again that could not go back to a snapshot after all. */
export interface GoingBackRecord
  extends Pick<
    VmRecord,
    | 'state'
    | 'stateReason'
    | 'failure'
    | 'idlePaused'
    | 'agentProtocol'
    | 'disks'
    | 'frozenAtFork'
    | 'identity'
    | 'suspended'
  > {
  /** all its disks have their second names: those under the first may be others */
  kept?: true
}

/** A vm that was paused to disk: no process, but a checkpoint file that it is restored from. */
export interface SuspendedRecord extends CheckpointRecord {
  atMs: number
  /** its workload stands still in it, and is to be thawed */
  frozen?: true
  /** snapshot whose file it is, and that it goes back to; absent: a file of its own */
  snapshotId?: string
  /** its disks of that moment are there, but have not got their names yet */
  placing?: true
  /** its guest has run again since: what is on its disks is newer than this memory, which must not be gone back to */
  resumedAtMs?: number
}

/** A lazy restore: it is over when the vm stands on its own. */
export interface RestoreRecord extends RestoreReport {
  /** from which file: of a snapshot, or of its own */
  checkpoint: CheckpointRecord
  /** how its QEMU is reached when that waits for a page, from `leaveRescue` */
  rescue?: string
}

/** Memory, devices and disks of a vm at one moment; its files are in a directory of its own. */
export interface SnapshotRecord {
  schemaVersion: 1
  id: string
  name: string
  state: SnapshotState
  /** the vm as it was, without what ran for it */
  vm: VmRecord
  /** its workload stands still in it, and is to be thawed in whatever is restored */
  frozen: boolean
  /** whether the guest has hooks to run in what is restored */
  hasForkHooks: boolean
  qemuVersion: string
  checkpoint?: CheckpointRecord
  memory?: SnapshotMemory
  diskBytes?: number
  workingSetPages?: number
  restoreCount: number
  labels: Record<string, string>
  ttlMs?: number
  expiresAtMs?: number
  failure?: Problem
  timings?: Timings
  createdAtMs: number
}

export interface TemplateRecord {
  schemaVersion: 1
  id: string
  name: string
  state: 'creating' | 'ready' | 'failed' | 'removing'
  source: { kind: 'vm' | 'image'; id: string; name: string }
  imageId: string
  imageName: string
  parentId?: string
  /** what it came from, oldest first, its parent last */
  ancestors?: Ancestor[]
  generation: number
  depth: number
  init: 'agent' | 'system'
  machine: MachineDescription
  disks: DiskRecord[]
  nics: { network: Network }[]
  labels: Record<string, string>
  environment: Record<string, string>
  armed: number
  /** id of its memory base */
  baseId: string
  /** where that is while resident */
  kept?: KeptBase
  baseBytes: number
  storedBytes: number
  agentProtocol?: number
  /** whether the guest has hooks to run in each child */
  hasForkHooks: boolean
  qemuVersion: string
  /** SHA-256 of the file with the migration stream that children load */
  streamDigest: string
  /** while it is made: the vm it consumes, and whether all of that vm's running state is stored */
  making?: { vmId: string; captured: boolean; keep: boolean }
  failure?: Problem
  timings?: Timings
  createdAtMs: number
}

/** A base folded for a fork of a running vm: in memory only, for as long as a vm maps it. */
export interface BaseRecord {
  schemaVersion: 1
  id: string
  name: string
  kept: KeptBase
  createdAtMs: number
}

/**
 * A delta that stands still because disks of others stand on it. How many is seen from their records; when the last
 * one is gone, it goes back to the vm that it came from, if that still stands on it too.
 */
export interface DeltaRecord {
  schemaVersion: 1
  id: string
  name: string
  /** vm and number of the disk that it was, and may become again */
  vmId: string
  disk: number
  createdAtMs: number
}

/** What is known of a file that must never change: a disk base, a kernel, an initramfs, a disk of a snapshot. */
export interface Fingerprint {
  schemaVersion: 1
  /** `<owner's id>/<file>` */
  id: string
  name: string
  owner: DiskBase['owner'] | 'snapshot'
  ownerId: string
  file: string
  /** of the whole file, when it was sealed or imported */
  sha256: string
  /** when it was last read whole and found to be so */
  stamp: FileStamp
  /** boot of the host in which that was */
  bootId: string
  /** id of the fingerprint of the base that a disk stands on, if any */
  below?: string
}

export interface ImageRecord {
  schemaVersion: 1
  id: string
  name: string
  tag: string
  labels: Record<string, string>
  createdAtMs: number
}

/** Accepts documents of the version this Ramet writes; older ones are migrated here when there are any. */
export function parseRecord<T extends { schemaVersion: 1; id: string }>(value: unknown): T {
  if (typeof value === 'object' && value !== null && 'schemaVersion' in value && value.schemaVersion === 1)
    return value as T
  throw new RametError('INTERNAL', { message: 'a stored record has an unknown version' })
}
