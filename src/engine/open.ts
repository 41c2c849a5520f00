import { randomBytes } from 'node:crypto'
import { ensurePageServer } from '../checkpoint/serve/ensure.ts'
import { Database } from '../cluster/database.ts'
import { Journal } from '../cluster/journal.ts'
import { Reserve } from '../cluster/reserve.ts'
import { SqliteStore } from '../cluster/sqlite-store.ts'
import { openCgroups } from '../host/cgroups.ts'
import { compileCacheOf } from '../host/compile-cache.ts'
import { readMemoryInfo } from '../host/meminfo.ts'
import { reclaimMemory } from '../host/reclaim.ts'
import { spawnDetached } from '../host/spawn-detached.ts'
import { type Clock, systemClock } from '../shared/clock.ts'
import type { Log } from '../shared/log.ts'
import { assemble } from './assemble.ts'
import type { EngineContext } from './context.ts'
import type { IdempotencyStore, Measurement } from './contract.ts'
import { LocalEngine } from './engine.ts'
import { EventLog } from './events.ts'
import { checkReachable } from './guest/reachable.ts'
import { readHostFacts } from './host/host-facts.ts'
import { StoredIdempotency } from './idempotency-store.ts'
import { Operations } from './operations.ts'
import { Paths } from './paths.ts'
import type { BaseRecord, DeltaRecord, ImageRecord, SnapshotRecord, TemplateRecord, VmRecord } from './records.ts'
import { Registry } from './registry.ts'
import { Seats } from './seats.ts'
import type { EngineSettings } from './settings.ts'

export interface OpenedEngine {
  engine: LocalEngine
  idempotency: IdempotencyStore
}

/**
 * Opens the engine on a data directory and brings it up to date with the host: afterwards `ready()` holds.
 * The caller holds the daemon's lock.
 *
 * @throws RametError `HOST_UNFIT`, `STORE_DAMAGED`, `STORE_TOO_NEW`, `PRIVILEGE`
 */
export async function openEngine(
  settings: EngineSettings,
  log: Log,
  clock: Clock = systemClock,
): Promise<OpenedEngine> {
  const paths = new Paths(settings)
  await paths.create()
  const listeners = new Set<(measurement: Measurement) => void>()
  const context = await openContext(settings, paths, { log, clock, listeners })
  await context.operations.open()
  const engine = new LocalEngine(assemble(context), listeners)
  const idempotency = new StoredIdempotency(context.store, clock)
  await idempotency.prune()
  await engine.recover()
  return { engine, idempotency }
}

interface Surroundings {
  log: Log
  clock: Clock
  listeners: ReadonlySet<(measurement: Measurement) => void>
}

async function openContext(settings: EngineSettings, paths: Paths, around: Surroundings): Promise<EngineContext> {
  const { log, clock, listeners } = around
  const host = await readHostFacts(paths.dataDir)
  if (host.userPerVm) for (const path of [paths.dataDir, paths.imagesDir]) checkReachable(path)
  const database = new Database(paths.database, { room: new Reserve(paths.reserve) })
  const store = new SqliteStore(database)
  const vms = await Registry.open<VmRecord>(store, 'vms', 'vm', 'VM_NOT_FOUND')
  const events = new EventLog(clock)
  return {
    settings,
    paths,
    host,
    store,
    journal: new Journal(database, clock),
    vms,
    templates: await Registry.open<TemplateRecord>(store, 'templates', 'template', 'TEMPLATE_NOT_FOUND'),
    images: await Registry.open<ImageRecord>(store, 'images', 'image', 'IMAGE_NOT_FOUND'),
    bases: await Registry.open<BaseRecord>(store, 'bases', 'memory base', 'NOT_FOUND'),
    deltas: await Registry.open<DeltaRecord>(store, 'deltas', 'frozen delta', 'NOT_FOUND'),
    snapshots: await Registry.open<SnapshotRecord>(store, 'snapshots', 'snapshot', 'SNAPSHOT_NOT_FOUND'),
    operations: new Operations(store, clock, events, log),
    events,
    seats: new Seats(vms.list().map((vm) => vm.seat)),
    clock,
    random: randomBytes,
    spawn: spawnDetached,
    pageServer: (options) => ensurePageServer({ env: compileCacheOf(), ...options }),
    cgroups: openCgroups({ log, clock }),
    readMemory: readMemoryInfo,
    reclaimMemory,
    log,
    measure: (measurement) => {
      for (const listener of listeners) listener(measurement)
    },
  }
}
