import type { Journal } from '../cluster/journal.ts'
import type { Store } from '../cluster/store.ts'
import type { CgroupDriver } from '../host/cgroups.ts'
import type { ReadMemoryInfo } from '../host/meminfo.ts'
import type { ReclaimMemory } from '../host/reclaim.ts'
import type { SpawnDetached } from '../host/spawn-detached.ts'
import type { Clock } from '../shared/clock.ts'
import type { Log } from '../shared/log.ts'
import type { Measurement } from './contract.ts'
import type { EventLog } from './events.ts'
import type { Operations } from './operations.ts'
import type { Paths } from './paths.ts'
import type { BaseRecord, DeltaRecord, ImageRecord, SnapshotRecord, TemplateRecord, VmRecord } from './records.ts'
import type { Registry } from './registry.ts'
import type { ConnectPageServer } from './restore/page-server.ts'
import type { Seats } from './seats.ts'
import type { EngineSettings } from './settings.ts'

/** What this host turned out to be able to do; found once when the daemon starts. */
export interface HostFacts {
  accelerator: 'kvm' | 'tcg'
  /** why that one, a sentence */
  acceleratorFinding: string
  /** versioned machine type for new vms */
  machineType: string
  qemuVersion: string
  /** versioned machine types that its QEMU has */
  machineTypes: readonly string[]
  /** whether each vm runs as a user of its own: only root can arrange that */
  userPerVm: boolean
  /** group that /dev/kvm belongs to, when guests need it */
  kvmGroup?: number
  /** IPv4 name servers that guests on `user` networks are told */
  nameServers: string[]
  /** boot id, to tell processes of an earlier boot */
  bootId: string
}

/** What all parts of the engine share. Passed on whole, since each part needs most of it. */
export interface EngineContext {
  settings: EngineSettings
  paths: Paths
  host: HostFacts
  store: Store
  journal: Journal
  vms: Registry<VmRecord>
  templates: Registry<TemplateRecord>
  images: Registry<ImageRecord>
  /** folded bases, which no template owns */
  bases: Registry<BaseRecord>
  /** frozen deltas, which no vm owns */
  deltas: Registry<DeltaRecord>
  snapshots: Registry<SnapshotRecord>
  operations: Operations
  events: EventLog
  seats: Seats
  clock: Clock
  random: (bytes: number) => Buffer
  spawn: SpawnDetached
  pageServer: ConnectPageServer
  cgroups: CgroupDriver
  readMemory: ReadMemoryInfo
  reclaimMemory: ReclaimMemory
  log: Log
  measure: (measurement: Measurement) => void
}
