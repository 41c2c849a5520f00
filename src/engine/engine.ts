import type { Readable } from 'node:stream'
import type { Event } from '../api/event.ts'
import type { ExecStart } from '../api/exec.ts'
import type { FileMakeDirectory, FileRename, FileWriteOptions } from '../api/file.ts'
import type { ForkRequest } from '../api/fork.ts'
import type { ImageBuild, ImageImport } from '../api/image.ts'
import type { PortPublish } from '../api/port.ts'
import type { PageQuery } from '../api/primitives.ts'
import type { SnapshotCreate, SnapshotImport, SnapshotRestore, SnapshotUpdate } from '../api/snapshot.ts'
import type { TemplateCreate, TemplateState, TemplateUpdate } from '../api/template.ts'
import type { VmClone, VmCreate, VmPause, VmStop, VmUpdate } from '../api/vm-create.ts'
import type {
  CallContext,
  ConsoleOptions,
  Engine,
  EventSubscription,
  ExecAttach,
  Measurement,
  OperationQuery,
  SnapshotQuery,
  VmQuery,
} from './contract.ts'
import { readLayers } from './disk/layers.ts'
import type { ForkParts } from './fork/fork-parts.ts'
import { ForkService } from './fork/fork-service.ts'
import { ExecService } from './guest/exec-service.ts'
import { FileService } from './guest/file-service.ts'
import { HostService } from './host/host-service.ts'
import { readHostStats } from './host/host-stats.ts'
import { LogSweep } from './host/log-sweep.ts'
import { StatsReader } from './host/stats.ts'
import { IdlePauses } from './idle/idle-pauses.ts'
import { ImageService } from './image/image-service.ts'
import { paginate } from './page.ts'
import { reconcile } from './recovery/reconcile.ts'
import { exportSnapshot } from './snapshot/archive/export-snapshot.ts'
import { importSnapshot } from './snapshot/archive/import-snapshot.ts'
import { SnapshotRestores } from './snapshot/snapshot-restores.ts'
import { SnapshotService } from './snapshot/snapshot-service.ts'
import { snapshotView } from './snapshot/snapshot-view.ts'
import { liveStates } from './state.ts'
import { TemplateService } from './template/template-service.ts'
import { ConsoleSweep } from './vm/console-sweep.ts'
import { VmService } from './vm/vm-service.ts'
import { vmView } from './vm/vm-view.ts'

/** The engine of one host. It only says who does what; each service is an idea of its own. */
export class LocalEngine implements Engine {
  readonly #parts: ForkParts
  readonly #vms: VmService
  readonly #templates: TemplateService
  readonly #forks: ForkService
  readonly #snapshots: SnapshotService
  readonly #snapshotRestores: SnapshotRestores
  readonly #images: ImageService
  readonly #execs: ExecService
  readonly #files: FileService
  readonly #stats: StatsReader
  readonly #host: HostService
  readonly #idle: IdlePauses
  readonly #logs: LogSweep
  readonly #consoles: ConsoleSweep
  readonly #listeners: Set<(measurement: Measurement) => void>
  /** reading bases again after a restart of the host */
  readonly #verifying = new AbortController()
  #verified: Promise<void> = Promise.resolve()
  #ready = false

  constructor(parts: ForkParts, listeners: Set<(measurement: Measurement) => void>) {
    this.#parts = parts
    this.#listeners = listeners
    this.#vms = new VmService(parts)
    this.#templates = new TemplateService(parts)
    this.#forks = new ForkService(parts)
    this.#snapshots = new SnapshotService(parts)
    this.#snapshotRestores = new SnapshotRestores(parts)
    this.#images = new ImageService(parts)
    this.#execs = new ExecService(parts)
    this.#files = new FileService(parts)
    this.#stats = new StatsReader(parts)
    this.#host = new HostService(parts, this.#stats)
    this.#idle = new IdlePauses(parts)
    this.#logs = new LogSweep(parts.context, parts.runtimes)
    this.#consoles = new ConsoleSweep(parts.runtimes)
    parts.ttl.onExpire = (vmId) => this.#vms.expire(vmId)
    parts.ttl.onSnapshotExpire = (id) => this.#snapshots.expire(id)
  }

  /** Makes records and host agree after a start. Requests are served afterwards. */
  async recover(): Promise<void> {
    const { context, armed, ttl, fingerprints } = this.#parts
    const live = context.vms.list().filter(({ state }) => liveStates.has(state))
    this.#host.reaped = await reconcile(this.#parts, this.#templates)
    this.#ready = true
    this.#vms.restarts.resume(new Set(live.map(({ id }) => id)))
    ttl.reschedule()
    this.#idle.start()
    this.#logs.start()
    this.#consoles.start()
    this.#verified = fingerprints
      .verifyOlder(this.#verifying.signal)
      .catch((error: unknown) => context.log.error({ error }, 'the bases could not be read again'))
    for (const template of context.templates.list()) if (this.#parts.bases.isResident(template)) armed.refill(template)
    context.log.info({ reaped: this.#host.reaped, vms: context.vms.list().length }, 'ready')
  }

  /** Lets go of everything: vms run on, what is under way is cancelled and undone, armed processes end. */
  async stop(): Promise<void> {
    const { context, armed, runtimes, settling, ttl } = this.#parts
    this.#ready = false
    ttl.stop()
    const idle = this.#idle.stop()
    this.#vms.restarts.stop()
    this.#logs.stop()
    this.#consoles.stop()
    this.#verifying.abort()
    await context.operations.stop()
    await idle
    await this.#verified
    await armed.stop()
    await settling.stop()
    await this.#parts.admission.settled()
    await this.#parts.restores.stop()
    for (const runtime of runtimes.list()) await runtime.console.drain(runtime.qemu)
    await runtimes.release()
    await context.store.close()
  }

  ready(): boolean {
    return this.#ready
  }

  createVm(request: VmCreate, call?: CallContext) {
    return this.#vms.create(request, call)
  }

  async listVms(query: VmQuery) {
    return this.#vms.list(query)
  }

  async getVm(ref: string) {
    const vm = this.#vm(ref)
    const restore = await this.#parts.restores.reportOf(vm.id)
    return vmView(restore === undefined ? vm : { ...this.#vm(vm.id), restore })
  }

  updateVm(ref: string, changes: VmUpdate) {
    return this.#vms.update(ref, changes)
  }

  startVm(ref: string, call?: CallContext) {
    return this.#vms.start(ref, call)
  }

  stopVm(ref: string, options: VmStop, call?: CallContext) {
    return this.#vms.stop(ref, options, call)
  }

  pauseVm(ref: string, options: VmPause, call?: CallContext) {
    return this.#vms.pause(ref, options, call)
  }

  resumeVm(ref: string, call?: CallContext) {
    return this.#vms.resume(ref, call)
  }

  killVm(ref: string, call?: CallContext) {
    return this.#vms.kill(ref, call)
  }

  removeVm(ref: string, options: { force: boolean }, call?: CallContext) {
    return this.#vms.remove(ref, options.force, call)
  }

  async forkVm(ref: string, request: ForkRequest, call?: CallContext) {
    return this.#forks.forkVm(this.#vm(ref), request, call)
  }

  cloneVm(ref: string, request: VmClone, call?: CallContext) {
    return this.#vms.clone(ref, request, call)
  }

  async vmStats(ref: string) {
    return this.#stats.read(this.#vm(ref))
  }

  async vmLayers(ref: string) {
    return readLayers(this.#parts, this.#vm(ref), this.#stats)
  }

  readConsole(ref: string, options: ConsoleOptions) {
    return this.#vms.readConsole(ref, options)
  }

  createTemplate(request: TemplateCreate, call?: CallContext) {
    return this.#templates.create(request, call)
  }

  async listTemplates(query: PageQuery & { state?: TemplateState[] | undefined }) {
    const rows = this.#parts.context.templates
      .list()
      .sort((a, b) => a.createdAtMs - b.createdAtMs)
      .map((template) => this.#templates.view(template))
      .filter((template) => query.state === undefined || query.state.includes(template.state))
    return paginate(rows, query)
  }

  async getTemplate(ref: string) {
    return this.#templates.view(this.#template(ref))
  }

  async updateTemplate(ref: string, changes: TemplateUpdate) {
    return this.#templates.view(await this.#templates.update(this.#template(ref), changes))
  }

  async removeTemplate(ref: string, call?: CallContext) {
    return this.#templates.remove(this.#template(ref), call)
  }

  async forkTemplate(ref: string, request: ForkRequest, call?: CallContext) {
    return this.#forks.fork(this.#template(ref), request, call)
  }

  async createSnapshot(vmRef: string, request: SnapshotCreate, call?: CallContext) {
    return this.#snapshots.create(this.#vm(vmRef), request, call)
  }

  async listSnapshots(query: SnapshotQuery) {
    return this.#snapshots.list(query)
  }

  async getSnapshot(ref: string) {
    return snapshotView(this.#snapshot(ref))
  }

  async updateSnapshot(ref: string, changes: SnapshotUpdate) {
    return this.#snapshots.update(this.#snapshot(ref), changes)
  }

  async restoreSnapshot(ref: string, request: SnapshotRestore, call?: CallContext) {
    return this.#snapshotRestores.restore(this.#snapshot(ref), request, call)
  }

  async removeSnapshot(ref: string, call?: CallContext) {
    return this.#snapshots.remove(this.#snapshot(ref), call)
  }

  async exportSnapshot(ref: string) {
    return exportSnapshot(this.#parts, this.#snapshot(ref))
  }

  importSnapshot(request: SnapshotImport, body: AsyncIterable<Uint8Array>, call?: CallContext) {
    return importSnapshot(this.#parts, request, body, call)
  }

  async listImages(query: PageQuery) {
    const rows = this.#parts.context.images.list().sort((a, b) => a.createdAtMs - b.createdAtMs)
    const page = paginate(rows, query)
    return { ...page, items: await Promise.all(page.items.map((image) => this.#images.view(image))) }
  }

  async getImage(ref: string) {
    return this.#images.view(this.#parts.images.find(ref))
  }

  buildImage(request: ImageBuild, call?: CallContext) {
    return this.#images.build(request, call)
  }

  importImage(request: ImageImport, body: AsyncIterable<Uint8Array>, call?: CallContext) {
    return this.#images.import(request, body, call)
  }

  removeImage(ref: string, call?: CallContext) {
    return this.#images.remove(ref, call)
  }

  async listOperations(query: OperationQuery) {
    const rows = this.#parts.context.operations
      .list()
      .filter((operation) => query.state === undefined || query.state.includes(operation.state))
      .filter((operation) => query.kind === undefined || query.kind.includes(operation.kind))
      .filter(({ target }) => query.target === undefined || [target.id, target.name].includes(query.target))
    return paginate(rows, query)
  }

  async getOperation(id: string) {
    return this.#parts.context.operations.get(id)
  }

  async cancelOperation(id: string) {
    return this.#parts.context.operations.cancel(id)
  }

  waitOperation(id: string, signal?: AbortSignal) {
    return this.#parts.context.operations.wait(id, signal)
  }

  subscribeEvents(options: { afterId?: number | undefined }, listener: (event: Event) => void): EventSubscription {
    return this.#parts.context.events.subscribe(options.afterId, listener)
  }

  async startExec(ref: string, request: ExecStart) {
    return this.#execs.start(this.#vm(ref), request)
  }

  async attachExec(ref: string, execId: string, attach: ExecAttach) {
    return this.#execs.attach(this.#vm(ref), execId, attach)
  }

  async listExecs(ref: string) {
    return this.#execs.list(this.#vm(ref))
  }

  async signalExec(ref: string, execId: string, signal: string) {
    await this.#execs.signal(this.#vm(ref), execId, signal)
  }

  async removeExec(ref: string, execId: string) {
    await this.#execs.remove(this.#vm(ref), execId)
  }

  async readFile(
    ref: string,
    path: string,
    range: { offset: number; lengthBytes?: number | undefined },
    signal?: AbortSignal,
  ) {
    return this.#files.read(this.#vm(ref), path, range, signal)
  }

  async writeFile(ref: string, path: string, body: Readable, options: FileWriteOptions) {
    return this.#files.write(this.#vm(ref), path, body, options)
  }

  async statFile(ref: string, path: string) {
    return this.#files.stat(this.#vm(ref), path)
  }

  async listFiles(ref: string, path: string) {
    return this.#files.list(this.#vm(ref), path)
  }

  async makeDirectory(ref: string, request: FileMakeDirectory) {
    return this.#files.makeDirectory(this.#vm(ref), request)
  }

  async removeFile(ref: string, path: string, options: { recursive: boolean }) {
    await this.#files.remove(this.#vm(ref), path, options)
  }

  async renameFile(ref: string, request: FileRename) {
    return this.#files.rename(this.#vm(ref), request)
  }

  async watchFiles(ref: string, path: string, options: { recursive: boolean }, signal: AbortSignal) {
    return this.#files.watch(this.#vm(ref), path, options, signal)
  }

  async listPorts(ref: string) {
    return this.#vm(ref).ports
  }

  async publishPort(ref: string, request: PortPublish) {
    return this.#parts.ports.publish(this.#vm(ref), request)
  }

  async unpublishPort(ref: string, guestPort: number) {
    await this.#parts.ports.unpublish(this.#vm(ref), guestPort)
  }

  hostStats() {
    return readHostStats(this.#parts)
  }

  hostInfo() {
    return this.#host.info()
  }

  doctor() {
    return this.#host.doctor()
  }

  async tree(ref?: string) {
    return this.#host.tree(ref)
  }

  metrics() {
    return this.#host.metrics()
  }

  onMeasurement(listener: (measurement: Measurement) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  #vm(ref: string) {
    return this.#parts.context.vms.find(ref)
  }

  #snapshot(ref: string) {
    return this.#parts.context.snapshots.find(ref)
  }

  #template(ref: string) {
    return this.#parts.context.templates.find(ref)
  }
}
