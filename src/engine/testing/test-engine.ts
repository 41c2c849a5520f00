import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ImageManifest } from '../../../guest/image/manifest.ts'
import type { Event } from '../../api/event.ts'
import { VmCreate } from '../../api/vm-create.ts'
import { Database } from '../../cluster/database.ts'
import { Journal } from '../../cluster/journal.ts'
import { SqliteStore } from '../../cluster/sqlite-store.ts'
import type { CgroupDriver, CgroupLimits } from '../../host/cgroups.ts'
import { readMemoryInfo } from '../../host/meminfo.ts'
import { bootId } from '../../host/process-identity.ts'
import { BaseWriter } from '../../memory/base.ts'
import { storeBase } from '../../memory/store.ts'
import { systemClock } from '../../shared/clock.ts'
import { newId } from '../../shared/ids.ts'
import { silentLog } from '../../shared/log.ts'
import { assemble } from '../assemble.ts'
import type { EngineContext } from '../context.ts'
import { baseFile } from '../disk/bases.ts'
import { EventLog } from '../events.ts'
import type { ForkParts } from '../fork/fork-parts.ts'
import { ForkService } from '../fork/fork-service.ts'
import { IdlePauses } from '../idle/idle-pauses.ts'
import { Operations } from '../operations.ts'
import { Paths } from '../paths.ts'
import type { BaseRecord, DeltaRecord, ImageRecord, SnapshotRecord, TemplateRecord, VmRecord } from '../records.ts'
import { type Reaped, reconcile } from '../recovery/reconcile.ts'
import { Restarts } from '../recovery/restarts.ts'
import { Registry } from '../registry.ts'
import { Seats } from '../seats.ts'
import { SnapshotRestores } from '../snapshot/snapshot-restores.ts'
import { SnapshotService } from '../snapshot/snapshot-service.ts'
import { TemplateService } from '../template/template-service.ts'
import { digestOf, writeStream } from '../template/template-stream.ts'
import { VmService } from '../vm/vm-service.ts'
import { FakePageServers } from './fake-page-server.ts'
import { FakeVmm } from './fake-vmm.ts'
import { ManualClock } from './manual-clock.ts'

const imageId = 'img-0123456789ab'

interface Fakes {
  vmm: FakeVmm
  cgroups: RecordedCgroups
  pageServers: FakePageServers
}

/** The engine's own code over fake QEMUs: everything real but the machine. Dispose of it to remove everything. */
export class TestEngine implements AsyncDisposable {
  readonly vmm: FakeVmm
  readonly parts: ForkParts
  readonly context: EngineContext
  readonly vms: VmService
  readonly templates: TemplateService
  readonly forks: ForkService
  readonly idle: IdlePauses
  /** by which vms become idle: no time passes unless a test says so */
  readonly idleClock = new ManualClock()
  readonly snapshots: SnapshotService
  readonly snapshotRestores: SnapshotRestores
  readonly cgroups: RecordedCgroups
  readonly pageServers: FakePageServers
  readonly events: Event[] = []
  /** what the delay of each restart was worked out from; here there is none */
  readonly restartCounts: number[] = []
  readonly #root: string
  #succeeded = false

  private constructor(root: string, fakes: Fakes, context: EngineContext) {
    const { vmm, cgroups, pageServers } = fakes
    this.#root = root
    this.vmm = vmm
    this.context = context
    this.cgroups = cgroups
    this.pageServers = pageServers
    this.parts = assemble(context)
    const restarts = new Restarts(this.parts, (count) => {
      this.restartCounts.push(count)
      return 1
    })
    this.vms = new VmService(this.parts, restarts)
    this.templates = new TemplateService(this.parts)
    this.forks = new ForkService(this.parts)
    this.idle = new IdlePauses(this.parts, this.idleClock)
    this.snapshots = new SnapshotService(this.parts)
    this.snapshotRestores = new SnapshotRestores(this.parts)
    context.events.subscribe(undefined, (event) => void this.events.push(event))
  }

  static async open(changes: Partial<EngineContext> = {}): Promise<TestEngine> {
    const root = await mkdtemp(join(tmpdir(), 'ramet-engine-'))
    return TestEngine.#at(root, new FakeVmm(), changes)
  }

  static async #at(root: string, vmm: FakeVmm, changes: Partial<EngineContext>): Promise<TestEngine> {
    const settings = {
      dataDir: root,
      cacheDir: join(root, 'cache'),
      logLevel: 'info',
      collapseBytesPerSecond: 2 ** 28,
      restoreFill: 'paced' as const,
      restorePolicy: 'auto' as const,
    }
    const paths = new Paths(settings)
    await paths.create()
    const database = new Database(paths.database)
    const store = new SqliteStore(database)
    const events = new EventLog(systemClock)
    const cgroups = new RecordedCgroups()
    const pageServers = new FakePageServers()
    const vms = await Registry.open<VmRecord>(store, 'vms', 'vm', 'VM_NOT_FOUND')
    const context: EngineContext = {
      settings,
      paths,
      host: {
        accelerator: 'tcg',
        acceleratorFinding: '',
        machineType: 'pc-q35-7.2',
        qemuVersion: '7.2.0',
        machineTypes: ['pc-q35-7.2'],
        userPerVm: false,
        nameServers: [],
        bootId: bootId(),
      },
      store,
      journal: new Journal(database),
      vms,
      templates: await Registry.open<TemplateRecord>(store, 'templates', 'template', 'TEMPLATE_NOT_FOUND'),
      images: await Registry.open<ImageRecord>(store, 'images', 'image', 'IMAGE_NOT_FOUND'),
      bases: await Registry.open<BaseRecord>(store, 'bases', 'memory base', 'NOT_FOUND'),
      deltas: await Registry.open<DeltaRecord>(store, 'deltas', 'frozen delta', 'NOT_FOUND'),
      snapshots: await Registry.open<SnapshotRecord>(store, 'snapshots', 'snapshot', 'SNAPSHOT_NOT_FOUND'),
      operations: new Operations(store, systemClock, events),
      events,
      seats: new Seats(vms.list().map((vm) => vm.seat)),
      clock: systemClock,
      random: randomBytes,
      spawn: vmm.spawn,
      pageServer: pageServers.connect,
      cgroups,
      readMemory: readMemoryInfo,
      reclaimMemory: () => Promise.resolve(false),
      log: silentLog,
      measure: () => {},
      ...changes,
    }
    await makeImage(context)
    await context.operations.open()
    return new TestEngine(root, { vmm, cgroups, pageServers }, context)
  }

  /** What a daemon that is killed, and the next one on the same data, do. The guests run on. */
  async restart(changes: Partial<EngineContext> = {}): Promise<{ engine: TestEngine; reaped: Reaped }> {
    await this.close()
    this.#succeeded = true
    const engine = await TestEngine.#at(this.#root, this.vmm, changes)
    return { engine, reaped: await reconcile(engine.parts, engine.templates) }
  }

  /** Creates a vm and waits until it runs. */
  async createVm(request: Partial<VmCreate> = {}): Promise<VmRecord> {
    const whole = VmCreate.parse({ image: 'tiny', memoryBytes: 64 * 1024 * 1024, ...request })
    const action = await this.vms.create(whole)
    return this.context.vms.find((await action.done).id)
  }

  /** A template that could have been made of a vm; its memory is one page. */
  async createTemplate(name = 'warm'): Promise<TemplateRecord> {
    const { context } = this
    const id = newId('tpl')
    const dir = context.paths.template(id)
    await mkdir(dir)
    const writer = await BaseWriter.create({ id: newId('base'), sizeBytes: 64 * 1024 * 1024, data: [] })
    writer.write(Buffer.alloc(4096, 1), 0)
    const base = writer.seal()
    await storeBase(base, join(dir, baseFile))
    const stream = Buffer.from('devices')
    await writeStream(dir, stream)
    const vm = await this.createVm({ start: false, name: `${name}-parent` })
    const template: TemplateRecord = {
      schemaVersion: 1,
      id,
      name,
      state: 'ready',
      source: { kind: 'vm', id: vm.id, name: vm.name },
      imageId,
      imageName: vm.imageName,
      generation: 1,
      depth: 0,
      init: 'agent',
      machine: vm.machine,
      disks: [],
      nics: [{ network: 'isolated' }],
      labels: {},
      environment: {},
      armed: 0,
      baseId: base.id,
      kept: await this.parts.bases.keep(id, base),
      baseBytes: 4096,
      storedBytes: 4096,
      hasForkHooks: false,
      qemuVersion: '7.2.0',
      streamDigest: digestOf(stream),
      createdAtMs: context.clock.nowMs(),
    }
    return context.templates.create(template)
  }

  /** What is left in use on the host. */
  openOwners(): string[] {
    return [...this.context.journal.open().keys()]
  }

  async close(): Promise<void> {
    this.parts.ttl.stop()
    await this.idle.stop()
    await this.parts.admission.settled()
    await this.parts.restores.stop()
    await this.parts.settling.stop()
    await this.parts.runtimes.release()
    await this.context.store.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // What it had is its successor's.
    this.vms.restarts.stop()
    if (this.#succeeded) return
    await this.context.operations.stop()
    await this.parts.armed.stop()
    for (const template of this.context.templates.list()) await this.parts.bases.drop(template)
    await this.close()
    await this.vmm[Symbol.asyncDispose]()
    await rm(this.#root, { recursive: true, force: true })
  }
}

async function makeImage(context: EngineContext): Promise<void> {
  if (context.images.get(imageId) !== undefined) return
  const digest = '0'.repeat(64)
  const manifest: ImageManifest = {
    schemaVersion: 1,
    id: imageId,
    recipe: 'micro',
    init: 'agent',
    kernelVersion: '6.1',
    cmdline: 'console=ttyS0 ramet.init=agent',
    disk: null,
    createdAt: new Date(0).toISOString(),
    digest,
    agentDigest: digest,
    files: {},
  }
  await mkdir(context.paths.image(imageId), { recursive: true })
  await writeFile(join(context.paths.image(imageId), 'manifest.json'), JSON.stringify(manifest))
  await context.images.create({
    schemaVersion: 1,
    id: imageId,
    name: 'tiny',
    tag: 'latest',
    labels: {},
    createdAtMs: 0,
  })
}

/** Control groups as last set; none is made. */
export class RecordedCgroups implements CgroupDriver {
  readonly controllers = ['memory', 'cpu'] as const
  readonly finding = 'recorded'
  readonly groups = new Map<string, CgroupLimits>()

  create(name: string, limits: CgroupLimits): void {
    this.groups.set(name, limits)
  }

  add(): void {}

  usage() {
    return { memoryBytes: 0, oomKillCount: 0 }
  }

  list(): string[] {
    return [...this.groups.keys()]
  }

  async remove(name: string): Promise<void> {
    this.groups.delete(name)
  }
}
