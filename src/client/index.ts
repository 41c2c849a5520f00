/** The public SDK of Ramet: fork running Linux virtual machines. */
import { Snapshot as AnySnapshot, type SnapshotRestoreReport as AnySnapshotRestoreReport } from './snapshot.ts'
import type { Vm } from './vm.ts'

export type { Event, EventType } from '../api/event.ts'
export type { Exec, PtySize } from '../api/exec.ts'
export type { FileEntry, FileEvent } from '../api/file.ts'
export type { DoctorReport, HostInfo, Version } from '../api/host.ts'
export type { CacheStats, HostMemory, HostStats } from '../api/host-stats.ts'
export type { Image } from '../api/image.ts'
export type { Layer, VmLayers } from '../api/layers.ts'
export type { Operation, Progress } from '../api/operation.ts'
export type { Port } from '../api/port.ts'
export type { Problem } from '../api/problem.ts'
export type { Snapshot as SnapshotInfo, SnapshotState } from '../api/snapshot.ts'
export type { VmStats } from '../api/stats.ts'
export type { Template as TemplateInfo } from '../api/template.ts'
export type { Timings } from '../api/timings.ts'
export type { Tree, TreeNode } from '../api/tree.ts'
export type { Vm as VmInfo, VmState } from '../api/vm.ts'
export type { ErrorCode } from '../shared/errors.ts'
export type { ActionOptions } from './action.ts'
export type { CallOptions } from './call-options.ts'
export { CommandHandle, type CommandResult } from './command-handle.ts'
export { type CommandConnectOptions, type CommandRunOptions, Commands, type OutputCallback } from './commands.ts'
export type { RametOptions } from './connect.ts'
export { CommandExitError, ForkError, RametApiError } from './errors.ts'
export type { EventsOptions } from './events.ts'
export { type FileContent, type FileReadOptions, Files, type FileWriteOptions, type WatchHandle } from './files.ts'
export { type ImageImportOptions, Images } from './images.ts'
export { type OperationListOptions, Operations } from './operations.ts'
export { Pty, type PtyCreateOptions } from './pty.ts'
export { Ramet } from './ramet.ts'
export { defaultDataDirectory } from './settings.ts'
export type { RestoreOptions, SnapshotOptions } from './snapshot.ts'
export { type SnapshotListOptions, Snapshots } from './snapshots.ts'
export { Template } from './template.ts'
export { type TemplateCreateOptions, Templates } from './templates.ts'
export {
  type ForkOptions,
  type ForkReport,
  type LogsOptions,
  Vm,
  type VmCreateOptions,
} from './vm.ts'
export { type VmListOptions, Vms } from './vms.ts'

/** Memory, devices and disks of a vm at one moment; see {@link AnySnapshot}. */
export type Snapshot = AnySnapshot<Vm>
export const Snapshot = AnySnapshot
/** What a restore made, and how. */
export type SnapshotRestoreReport = AnySnapshotRestoreReport<Vm>
