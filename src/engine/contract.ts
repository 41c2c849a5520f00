/**
 * What the engine promises to its faces (the HTTP server now, others later). Everything here is in
 * the types of the API. Wherever a parameter is called `ref` it is an id or a name.
 *
 * Every method may reject with a RametError; the codes named at a method are those a caller should
 * expect beside `INTERNAL`. Requests have been validated against their schemas, so that the engine
 * checks only what needs its state: names taken, capacity, legality in the present state.
 */
import type { Readable } from 'node:stream'
import type { Event } from '../api/event.ts'
import type { Exec, ExecStart, PtySize } from '../api/exec.ts'
import type { OutputChannel } from '../api/exec-socket.ts'
import type { FileEntry, FileEvent, FileMakeDirectory, FileRename, FileWriteOptions } from '../api/file.ts'
import type { ForkRequest, ForkResult } from '../api/fork.ts'
import type { DoctorReport, HostInfo } from '../api/host.ts'
import type { HostStats } from '../api/host-stats.ts'
import type { Image, ImageBuild, ImageImport } from '../api/image.ts'
import type { VmLayers } from '../api/layers.ts'
import type { Operation, OperationKind, OperationState } from '../api/operation.ts'
import type { Port, PortPublish } from '../api/port.ts'
import type { Page, PageQuery } from '../api/primitives.ts'
import type { RestoreFigures } from '../api/restore.ts'
import type {
  Snapshot,
  SnapshotCreate,
  SnapshotImport,
  SnapshotRestore,
  SnapshotRestored,
  SnapshotState,
  SnapshotUpdate,
} from '../api/snapshot.ts'
import type { VmStats } from '../api/stats.ts'
import type { Template, TemplateCreate, TemplateCreated, TemplateState, TemplateUpdate } from '../api/template.ts'
import type { Tree } from '../api/tree.ts'
import type { Vm, VmState } from '../api/vm.ts'
import type { VmClone, VmCreate, VmPause, VmStop, VmUpdate } from '../api/vm-create.ts'

/** What goes with a call that makes an operation. */
export interface CallContext {
  /**
   * Id that the operation shall have, chosen by the caller (`newId('op')`) and written down by it
   * before the call: after a crash it asks for this operation, and learns whether the call took place.
   */
  operationId?: string | undefined
  /** when the request arrived, on this process's monotonic clock, milliseconds; stages are counted from there */
  requestedAtMs?: number | undefined
}

/**
 * A long action that has been accepted: it is journalled, and goes on whoever listens.
 * `done` settles when the operation is final: with its result, or with the error (`CANCELLED` when it
 * was cancelled). The engine marks `done` as handled, so that it may be ignored safely.
 */
export interface Action<T> {
  readonly operation: Operation
  readonly done: Promise<T>
}

export interface VmQuery extends PageQuery {
  state?: VmState[] | undefined
  /** each `key=value` or `key`; all must match */
  label?: string[] | undefined
  /** id or name of the template or vm it was forked from */
  parent?: string | undefined
}

export interface VmMethods {
  /** @throws NAME_TAKEN, IMAGE_NOT_FOUND, NO_CAPACITY, NO_SPACE; `done`: GUEST_PANIC, TIMEOUT, VMM_FAILED */
  createVm(request: VmCreate, context?: CallContext): Promise<Action<Vm>>
  /** oldest first @throws INVALID_ARGUMENT for a cursor that is none */
  listVms(query: VmQuery): Promise<Page<Vm>>
  /** @throws VM_NOT_FOUND */
  getVm(ref: string): Promise<Vm>
  /** @throws VM_NOT_FOUND, NAME_TAKEN, ILLEGAL_STATE */
  updateVm(ref: string, changes: VmUpdate): Promise<Vm>
  /** @throws VM_NOT_FOUND, ILLEGAL_STATE, NO_CAPACITY */
  startVm(ref: string, context?: CallContext): Promise<Action<Vm>>
  /** Asks the guest to shut down. @throws VM_NOT_FOUND, ILLEGAL_STATE; `done`: TIMEOUT unless forced */
  stopVm(ref: string, options: VmStop, context?: CallContext): Promise<Action<Vm>>
  /** With `toDisk` also one that is paused. @throws VM_NOT_FOUND, ILLEGAL_STATE; `done`: NO_SPACE, GUEST_UNREACHABLE */
  pauseVm(ref: string, options: VmPause, context?: CallContext): Promise<Action<Vm>>
  /** Of one that was paused to disk, too. @throws VM_NOT_FOUND, ILLEGAL_STATE; `done`: NO_CAPACITY, CHECKPOINT_DAMAGED */
  resumeVm(ref: string, context?: CallContext): Promise<Action<Vm>>
  /** Ends QEMU at once. @throws VM_NOT_FOUND, ILLEGAL_STATE */
  killVm(ref: string, context?: CallContext): Promise<Action<Vm>>
  /** With `force` a vm that runs is killed first. @throws VM_NOT_FOUND, ILLEGAL_STATE, IN_USE */
  removeVm(ref: string, options: { force: boolean }, context?: CallContext): Promise<Action<void>>
  /** @throws VM_NOT_FOUND, ILLEGAL_STATE, FROZEN_BY_TEMPLATE naming the vm's value, NAME_TAKEN, NO_CAPACITY */
  forkVm(ref: string, request: ForkRequest, context?: CallContext): Promise<Action<ForkResult>>
  /** @throws VM_NOT_FOUND, ILLEGAL_STATE, NAME_TAKEN, NO_SPACE */
  cloneVm(ref: string, request: VmClone, context?: CallContext): Promise<Action<Vm>>
  /** What its memory and disks stand on, and who else uses it. @throws VM_NOT_FOUND */
  vmLayers(ref: string): Promise<VmLayers>
  /** @throws VM_NOT_FOUND */
  vmStats(ref: string): Promise<VmStats>
  /**
   * The console as bytes: the last `tailLines` lines (all that is kept when left out), and with `follow`
   * all that comes until the vm is removed or the signal aborts. @throws VM_NOT_FOUND
   */
  readConsole(ref: string, options: ConsoleOptions): Promise<AsyncIterable<Uint8Array>>
}

export interface ConsoleOptions {
  tailLines?: number | undefined
  follow: boolean
  /** ends the iteration without an error */
  signal: AbortSignal
}

export interface TemplateMethods {
  /** @throws NAME_TAKEN, VM_NOT_FOUND, IMAGE_NOT_FOUND, ILLEGAL_STATE, NO_CAPACITY; `done`: READINESS_FAILED, ... */
  createTemplate(request: TemplateCreate, context?: CallContext): Promise<Action<TemplateCreated>>
  listTemplates(query: PageQuery & { state?: TemplateState[] | undefined }): Promise<Page<Template>>
  /** @throws TEMPLATE_NOT_FOUND */
  getTemplate(ref: string): Promise<Template>
  /** @throws TEMPLATE_NOT_FOUND, NAME_TAKEN */
  updateTemplate(ref: string, changes: TemplateUpdate): Promise<Template>
  /** @throws TEMPLATE_NOT_FOUND, IN_USE with the children in `details.children` */
  removeTemplate(ref: string, context?: CallContext): Promise<Action<void>>
  /**
   * `done` resolves also when children failed (each says so in its result), but for `atomic`, when it
   * rejects with FORK_INCOMPLETE and the causes in `details.results`.
   *
   * @throws TEMPLATE_NOT_FOUND, FROZEN_BY_TEMPLATE naming the template's value, NAME_TAKEN, NO_CAPACITY
   */
  forkTemplate(ref: string, request: ForkRequest, context?: CallContext): Promise<Action<ForkResult>>
}

export interface SnapshotQuery extends PageQuery {
  state?: SnapshotState[] | undefined
  /** each `key=value` or `key`; all must match */
  label?: string[] | undefined
  /** id or name of the vm that they are of, which may be gone */
  vm?: string | undefined
}

export interface SnapshotMethods {
  /**
   * Captures a vm as a fork does; it runs on, or stands as it did, while its memory is saved.
   *
   * @throws VM_NOT_FOUND, NAME_TAKEN, ILLEGAL_STATE, GUEST_UNREACHABLE; `done`: GUEST_REFUSED, PAUSE_TOO_LONG, NO_SPACE,
   *   NO_CAPACITY
   */
  createSnapshot(vmRef: string, request: SnapshotCreate, context?: CallContext): Promise<Action<Snapshot>>
  /** oldest first */
  listSnapshots(query: SnapshotQuery): Promise<Page<Snapshot>>
  /** @throws SNAPSHOT_NOT_FOUND */
  getSnapshot(ref: string): Promise<Snapshot>
  /** @throws SNAPSHOT_NOT_FOUND, NAME_TAKEN */
  updateSnapshot(ref: string, changes: SnapshotUpdate): Promise<Snapshot>
  /**
   * `done` resolves also when new vms failed: each says so in its result.
   *
   * @throws SNAPSHOT_NOT_FOUND, ILLEGAL_STATE, NAME_TAKEN, INVALID_ARGUMENT; `done`: CHECKPOINT_UNFIT, CHECKPOINT_DAMAGED,
   *   BASE_DAMAGED, NO_CAPACITY, NO_SPACE
   */
  restoreSnapshot(ref: string, request: SnapshotRestore, context?: CallContext): Promise<Action<SnapshotRestored>>
  /** @throws SNAPSHOT_NOT_FOUND, ILLEGAL_STATE while it is made, IN_USE while memory comes from it or it is exported */
  removeSnapshot(ref: string, context?: CallContext): Promise<Action<void>>
  /**
   * All of a snapshot as one stream, but for what it stands on. @throws SNAPSHOT_NOT_FOUND, ILLEGAL_STATE, BASE_DAMAGED
   */
  exportSnapshot(ref: string): Promise<SnapshotExport>
  /**
   * Reads `body` to its end before the action is returned: what is then left to do needs no client.
   *
   * @throws NAME_TAKEN, IMAGE_NOT_FOUND, CHECKPOINT_UNFIT naming what is missing, CHECKPOINT_DAMAGED, NO_SPACE, TOO_LARGE;
   *   `done`: CHECKPOINT_DAMAGED, IMAGE_INVALID
   */
  importSnapshot(
    request: SnapshotImport,
    body: AsyncIterable<Uint8Array>,
    context?: CallContext,
  ): Promise<Action<Snapshot>>
}

export interface SnapshotExport {
  /** bytes that `body` will give */
  readonly sizeBytes: number
  /** to be read to its end, or destroyed; until then the snapshot cannot be removed */
  readonly body: Readable
}

export interface ImageMethods {
  listImages(query: PageQuery): Promise<Page<Image>>
  /** @throws IMAGE_NOT_FOUND */
  getImage(ref: string): Promise<Image>
  /** Answers with the image that is there if the recipe has been built. @throws `done`: IMAGE_BUILD_FAILED, NO_SPACE */
  buildImage(request: ImageBuild, context?: CallContext): Promise<Action<Image>>
  /**
   * Reads `body` to its end before the action is returned: what is then left to do needs no client.
   *
   * @throws NAME_TAKEN, NO_SPACE, TOO_LARGE; `done`: IMAGE_INVALID
   */
  importImage(request: ImageImport, body: AsyncIterable<Uint8Array>, context?: CallContext): Promise<Action<Image>>
  /** @throws IMAGE_NOT_FOUND, IN_USE with what depends on it in `details.dependents` */
  removeImage(ref: string, context?: CallContext): Promise<Action<void>>
}

export interface OperationQuery extends PageQuery {
  state?: OperationState[] | undefined
  kind?: OperationKind[] | undefined
  /** id or name of what it acts on */
  target?: string | undefined
}

export interface OperationMethods {
  /** newest first */
  listOperations(query: OperationQuery): Promise<Page<Operation>>
  /** @throws NOT_FOUND */
  getOperation(id: string): Promise<Operation>
  /** Asks it to end; answers at once with the operation as it is then. @throws NOT_FOUND, ILLEGAL_STATE when final */
  cancelOperation(id: string): Promise<Operation>
  /** Resolves when it is final, in whichever way. @throws NOT_FOUND, the signal's reason */
  waitOperation(id: string, signal?: AbortSignal): Promise<Operation>
}

export interface EventSubscription {
  /** whether events after `afterId` have been forgotten, so that the subscriber must list again */
  readonly missed: boolean
  /** id of the newest event there is, 0 before the first */
  readonly latestId: number
  unsubscribe(): void
}

export interface EventMethods {
  /**
   * Calls `listener` first, before returning, for each kept event after `afterId` (when given), then for
   * each that comes, in order, each once. A listener must not throw and must not block.
   */
  subscribeEvents(options: { afterId?: number | undefined }, listener: (event: Event) => void): EventSubscription
}

/** What comes out of an exec session, in order. */
export type ExecOutput =
  | { type: 'data'; channel: OutputChannel /** of the first byte */; offset: number; data: Uint8Array }
  /** the guest has accepted all input below `offset` */
  | { type: 'stdin-ack'; offset: number }
  /** last of all: all output has come before it */
  | { type: 'exit'; exitCode?: number; signal?: string; stdoutOffset: number; stderrOffset: number }

/**
 * Somebody attached to a process in a guest. Offsets count bytes since the process began and belong
 * to the guest, so that they mean the same in every session, over daemons and over forks.
 *
 * Back-pressure: the guest sends at most `windowBytes` past what was acknowledged, per stream.
 * `output` is read by one reader, which acknowledges when *its* client has the bytes, not on reading.
 */
export interface ExecSession {
  /** as it was when the session began */
  readonly exec: Exec
  /** next byte of input that the guest expects */
  readonly stdinOffset: number
  /** where output begins in this session; later than asked if the guest had let go of bytes */
  readonly stdoutOffset: number
  readonly stderrOffset: number
  /** bytes that may go unacknowledged, per stream and direction */
  readonly windowBytes: number
  /**
   * Ends after `exit`, or after `release`. Throws AGENT_LINK_LOST when the guest cannot be heard any
   * more (the process may go on: attach again), VM_NOT_FOUND when the vm is gone.
   */
  readonly output: AsyncIterable<ExecOutput>
  /** The receiver has all bytes below `offset`; the guest may let go of them. Never goes back. */
  ack(channel: OutputChannel, offset: number): void
  /**
   * Input that begins at `offset`; bytes that the guest already has are skipped. Resolves when it is on
   * its way, which back-pressure delays. @throws INVALID_ARGUMENT for a gap or for more than the window
   */
  write(offset: number, data: Uint8Array): Promise<void>
  /** The input ends at `offset`. May be repeated. */
  end(offset: number): Promise<void>
  /** @throws INVALID_ARGUMENT when it has no terminal */
  resize(size: PtySize): Promise<void>
  /** To the process group. @throws INVALID_ARGUMENT for an unknown signal */
  signal(name: string): Promise<void>
  /**
   * Lets go of the process; `output` ends. What becomes of a process that still runs:
   * `closed`: SIGHUP unless it is detached · `lost`: kept for `limits.execReattachMs` for somebody to
   * attach, then as `closed` · `detach`: it is detached from now on. Idempotent.
   */
  release(how: 'closed' | 'lost' | 'detach'): Promise<void>
}

export interface ExecAttach {
  /** bytes of each output that the client already has; from there it goes on */
  stdoutOffset: number
  stderrOffset: number
}

export interface ExecMethods {
  /**
   * Starts a process and attaches to it; attaches only if `request.execId` has one already.
   *
   * @throws VM_NOT_FOUND, ILLEGAL_STATE, GUEST_REFUSED (no such program or user), GUEST_UNREACHABLE
   */
  startExec(ref: string, request: ExecStart): Promise<ExecSession>
  /** A process has one session at a time: the newest; an older one ends. @throws VM_NOT_FOUND, NOT_FOUND */
  attachExec(ref: string, execId: string, attach: ExecAttach): Promise<ExecSession>
  /** @throws VM_NOT_FOUND, ILLEGAL_STATE, GUEST_UNREACHABLE */
  listExecs(ref: string): Promise<Exec[]>
  /** @throws VM_NOT_FOUND, NOT_FOUND, INVALID_ARGUMENT */
  signalExec(ref: string, execId: string, signal: string): Promise<void>
  /** Forgets an exited process and what is kept of its output. @throws VM_NOT_FOUND, NOT_FOUND, ILLEGAL_STATE */
  removeExec(ref: string, execId: string): Promise<void>
}

export interface FileRead {
  readonly entry: FileEntry
  /** bytes that `body` will give */
  readonly lengthBytes: number
  /** ending early (`return()`) closes the file in the guest */
  readonly body: AsyncIterable<Uint8Array>
}

/** Paths are the guest's. All: @throws VM_NOT_FOUND, ILLEGAL_STATE, GUEST_UNREACHABLE, GUEST_REFUSED, NOT_FOUND */
export interface FileMethods {
  /** Reads `lengthBytes` (to the end when left out) from `offset`. */
  readFile(
    ref: string,
    path: string,
    range: { offset: number; lengthBytes?: number | undefined },
    signal?: AbortSignal,
  ): Promise<FileRead>
  /** The file appears whole or not at all, unless `offset` is given. */
  writeFile(ref: string, path: string, body: Readable, options: FileWriteOptions): Promise<FileEntry>
  statFile(ref: string, path: string): Promise<FileEntry>
  listFiles(ref: string, path: string): Promise<FileEntry[]>
  makeDirectory(ref: string, request: FileMakeDirectory): Promise<FileEntry>
  /** @throws IN_USE for a directory that is not empty, unless `recursive` */
  removeFile(ref: string, path: string, options: { recursive: boolean }): Promise<void>
  renameFile(ref: string, request: FileRename): Promise<FileEntry>
  /** Ends without an error when the signal aborts. */
  watchFiles(
    ref: string,
    path: string,
    options: { recursive: boolean },
    signal: AbortSignal,
  ): Promise<AsyncIterable<FileEvent>>
}

export interface PortMethods {
  /** @throws VM_NOT_FOUND */
  listPorts(ref: string): Promise<Port[]>
  /** @throws VM_NOT_FOUND, IN_USE when the host port is taken, PRIVILEGE */
  publishPort(ref: string, request: PortPublish): Promise<Port>
  /** @throws VM_NOT_FOUND, NOT_FOUND */
  unpublishPort(ref: string, guestPort: number): Promise<void>
}

/** Numbers of this moment, for `/metrics`. Cheap: nothing that asks a guest. */
export interface MetricsSnapshot {
  vmsByState: Partial<Record<VmState, number>>
  templatesByState: Partial<Record<TemplateState, number>>
  snapshotsByState: Partial<Record<SnapshotState, number>>
  operationsByState: Partial<Record<OperationState, number>>
  /** QEMU processes started ahead */
  armedCount: number
  /** vms that run while their memory still comes */
  fillingCount: number
  /** memory of all vms, bytes */
  privateBytes: number
  sharedBytes: number
  vmmBytes: number
  /** memory of all resident bases, bytes */
  baseBytes: number
  host: HostStats
  /** deepest disk chain of any vm */
  diskChainDepth: number
  /** what a restart found without an owner and removed, by kind (process, file, socket ...), since the daemon started */
  orphansReaped: Record<string, number>
}

/** A duration worth a histogram, told as it happens. */
export type Measurement =
  | { kind: 'fork-stage'; stage: string; ms: number }
  | { kind: 'source-pause'; ms: number }
  | { kind: 'boot'; ms: number }
  | { kind: 'first-exec'; ms: number }
  /** a vm was there again, its agent having answered, while its memory still came */
  | { kind: 'restore-ready'; ms: number }
  /** a lazy restore came to its end; what was counted is absent when its page server took that with it */
  | { kind: 'restore'; outcome: 'completed' | 'ended'; figures?: RestoreFigures | undefined }

export interface HostMethods {
  hostInfo(): Promise<HostInfo>
  /** Cheap: asks no guest. */
  hostStats(): Promise<HostStats>
  doctor(): Promise<DoctorReport>
  /** What came from what: everything, or the ancestors and descendants of one. @throws NOT_FOUND */
  tree(ref?: string): Promise<Tree>
  metrics(): Promise<MetricsSnapshot>
  /** Tells of durations until the function it returns is called. */
  onMeasurement(listener: (measurement: Measurement) => void): () => void
  /** whether adoption after a restart is over, so that requests are served */
  ready(): boolean
}

export interface Engine
  extends VmMethods,
    TemplateMethods,
    SnapshotMethods,
    ImageMethods,
    OperationMethods,
    EventMethods,
    ExecMethods,
    FileMethods,
    PortMethods,
    HostMethods {}

/** An answer kept for a repeated request. */
export interface StoredAnswer {
  status: number
  /** response headers worth repeating */
  headers: Record<string, string>
  /** body as JSON text */
  body: string
}

export interface IdempotencyRecord {
  key: string
  /** hash of method, path and body: the same key with another is a mistake */
  fingerprint: string
  /** operation that the request makes, written down before it is made */
  operationId: string
  /** absent until the request has been answered */
  answer?: StoredAnswer | undefined
}

/** Where the server keeps answers to requests with an `Idempotency-Key`; durable, kept for `limits.idempotencyTtlMs`. */
export interface IdempotencyStore {
  /** Atomically inserts the record, or returns the one that has the key. */
  begin(record: IdempotencyRecord): Promise<IdempotencyRecord | undefined>
  finish(key: string, answer: StoredAnswer): Promise<void>
  /** The request was refused before anything was done: the key may be used again. */
  forget(key: string): Promise<void>
}
