/** An engine in memory, for tests of its faces: no guest runs, but names, states, offsets and errors are true. */
import type { Exec, ExecStart } from '../../api/exec.ts'
import type { FileEntry, FileEvent } from '../../api/file.ts'
import { type ForkRequest, type ForkResult, frozenAtFork } from '../../api/fork.ts'
import type { DoctorReport, HostInfo } from '../../api/host.ts'
import type { HostStats } from '../../api/host-stats.ts'
import type { Image, ImageImport } from '../../api/image.ts'
import type { VmLayers } from '../../api/layers.ts'
import type { OperationKind } from '../../api/operation.ts'
import type { Port, PortPublish } from '../../api/port.ts'
import type { Page, PageQuery } from '../../api/primitives.ts'
import type { VmStats } from '../../api/stats.ts'
import type { Template, TemplateCreate, TemplateCreated } from '../../api/template.ts'
import type { Tree } from '../../api/tree.ts'
import type { Vm } from '../../api/vm.ts'
import type { VmCreate, VmUpdate } from '../../api/vm-create.ts'
import type {
  Action,
  CallContext,
  ConsoleOptions,
  Engine,
  ExecAttach,
  ExecSession,
  FileRead,
  Measurement,
  MetricsSnapshot,
  VmQuery,
} from '../../engine/contract.ts'
import { RametError } from '../../shared/errors.ts'
import { inventName, newId } from '../../shared/ids.ts'
import { pageOf } from './fake-operations.ts'
import { FakeProcess, FakeSession } from './fake-process.ts'
import { fakeImage, fakeTemplate, fakeVm, now } from './fake-resources.ts'
import { FakeSnapshots } from './fake-snapshots.ts'

const MiB = 1024 * 1024

export class FakeEngine extends FakeSnapshots implements Engine {
  readonly vms = new Map<string, Vm>()
  readonly templates = new Map<string, Template>()
  readonly images = new Map<string, Image>()
  readonly processes = new Map<string, FakeProcess>()
  readonly sessions: FakeSession[] = []
  readonly files = new Map<string, Buffer>()
  isReady = true
  #measure: ((measurement: Measurement) => void) | undefined

  constructor() {
    super()
    const image = fakeImage('micro')
    this.images.set(image.id, image)
  }

  measure(measurement: Measurement): void {
    this.#measure?.(measurement)
  }

  protected vm(ref: string): Vm {
    const vm = this.vms.get(ref) ?? [...this.vms.values()].find(({ name }) => name === ref)
    if (vm === undefined) throw new RametError('VM_NOT_FOUND', { message: `there is no vm “${ref}”` })
    return vm
  }

  #template(ref: string): Template {
    const template = this.templates.get(ref) ?? [...this.templates.values()].find(({ name }) => name === ref)
    if (template === undefined) throw new RametError('TEMPLATE_NOT_FOUND', { message: `there is no template “${ref}”` })
    return template
  }

  #image(ref: string): Image {
    const image = this.images.get(ref) ?? [...this.images.values()].find(({ name }) => name === ref)
    if (image === undefined) throw new RametError('IMAGE_NOT_FOUND', { message: `there is no image “${ref}”` })
    return image
  }

  #free(name: string | undefined): string {
    if (name !== undefined && [...this.vms.values()].some((vm) => vm.name === name))
      throw new RametError('NAME_TAKEN', { message: `there is a vm “${name}” already` })
    return name ?? inventName()
  }

  #add(vm: Vm): Vm {
    this.vms.set(vm.id, vm)
    this.emit('vm.created', { kind: 'vm', id: vm.id, name: vm.name })
    return vm
  }

  async createVm(request: VmCreate, context?: CallContext): Promise<Action<Vm>> {
    this.called('createVm')
    this.#image(request.image)
    const vm = fakeVm(this.#free(request.name), request)
    return this.act('vm.create', { kind: 'vm', id: vm.id, name: vm.name }, context, () => this.#add(vm))
  }

  async listVms(query: VmQuery): Promise<Page<Vm>> {
    this.called('listVms')
    return pageOf(
      [...this.vms.values()].filter((vm) => query.state?.includes(vm.state) ?? true),
      query,
    )
  }

  async getVm(ref: string): Promise<Vm> {
    this.called('getVm')
    return this.vm(ref)
  }

  async updateVm(ref: string, { ttlSeconds, idle, ...changes }: VmUpdate): Promise<Vm> {
    this.called('updateVm')
    return Object.assign(this.vm(ref), changes, {
      ...(ttlSeconds === undefined ? {} : { ttlSeconds: ttlSeconds ?? undefined }),
      ...(idle === undefined ? {} : { idle: idle ?? undefined }),
    })
  }

  #move(kind: OperationKind, ref: string, from: Vm['state'][], to: Vm['state'], context?: CallContext): Action<Vm> {
    const vm = this.vm(ref)
    if (!from.includes(vm.state))
      throw new RametError('ILLEGAL_STATE', { message: `“${vm.name}” is ${vm.state}, not ${from.join(' or ')}` })
    return this.act(kind, { kind: 'vm', id: vm.id, name: vm.name }, context, () => {
      vm.state = to
      this.emit('vm.state', { kind: 'vm', id: vm.id, name: vm.name }, { state: to })
      return vm
    })
  }

  startVm = async (ref: string, context?: CallContext) =>
    this.#move('vm.start', ref, ['created', 'stopped', 'failed'], 'running', context)
  pauseVm = async (ref: string, { toDisk }: { toDisk: boolean }, context?: CallContext) =>
    this.#move('vm.pause', ref, ['running'], toDisk ? 'suspended' : 'paused', context)
  resumeVm = async (ref: string, context?: CallContext) =>
    this.#move('vm.resume', ref, ['paused', 'suspended'], 'running', context)
  killVm = async (ref: string, context?: CallContext) =>
    this.#move('vm.kill', ref, ['running', 'paused'], 'stopped', context)
  stopVm = async (ref: string, _options: unknown, context?: CallContext) =>
    this.#move('vm.stop', ref, ['running'], 'stopped', context)

  async removeVm(ref: string, { force }: { force: boolean }, context?: CallContext): Promise<Action<void>> {
    this.called('removeVm')
    const vm = this.vm(ref)
    if (!force && vm.state === 'running') throw new RametError('ILLEGAL_STATE', { message: `“${vm.name}” is running` })
    return this.act('vm.remove', { kind: 'vm', id: vm.id, name: vm.name }, context, () => {
      this.vms.delete(vm.id)
    })
  }

  forkVm = async (ref: string, request: ForkRequest, context?: CallContext) =>
    this.#fork('vm.fork', 'vm', this.vm(ref), request, context)
  forkTemplate = async (ref: string, request: ForkRequest, context?: CallContext) =>
    this.#fork('template.fork', 'template', this.#template(ref), request, context)

  #fork(
    operation: OperationKind,
    kind: 'vm' | 'template',
    source: Vm | Template,
    request: ForkRequest,
    context?: CallContext,
  ): Action<ForkResult> {
    this.called('fork')
    for (const field of frozenAtFork)
      if (request[field] !== undefined)
        throw new RametError('FROZEN_BY_TEMPLATE', {
          message: `${field} is fixed by “${source.name}” at ${JSON.stringify(source[field])}`,
          details: { field, value: source[field] },
        })
    return this.act(operation, { kind, id: source.id, name: source.name }, context, () => ({
      results: Array.from({ length: request.count }, (_, forkIndex) => {
        const name = request.names?.[forkIndex] ?? `${request.namePrefix ?? source.name}-${forkIndex}`
        const manner = { identity: request.agent ? ('own' as const) : ('none' as const), frozenAtFork: request.freeze }
        const vm = this.#add({ ...fakeVm(name, {}), ...manner, parentId: source.id, forkIndex })
        return { ok: true as const, vm, timings: { loadMs: 3 } }
      }),
      timings: { totalMs: 25, ...(kind === 'vm' ? { freezeMs: 49, pauseMs: 41, captureMs: 30 } : {}) },
      ...(request.agent ? {} : { warnings: ['The children have no identity of their own.'] }),
    }))
  }

  async cloneVm(ref: string, request: { name?: string | undefined }, context?: CallContext): Promise<Action<Vm>> {
    this.called('cloneVm')
    const vm = { ...fakeVm(this.#free(request.name), {}), parentId: this.vm(ref).id }
    return this.act('vm.clone', { kind: 'vm', id: vm.id, name: vm.name }, context, () => this.#add(vm))
  }

  async vmStats(ref: string): Promise<VmStats> {
    this.called('vmStats')
    const { id, name } = this.vm(ref)
    return {
      vmId: id,
      name,
      at: now(),
      cpuSeconds: 1,
      cpuFraction: 0.5,
      memory: { privateBytes: 4 * MiB, sharedBytes: 60 * MiB, swappedBytes: 0, vmmBytes: 33 * MiB },
      disk: { privateBytes: MiB, sharedBytes: 400 * MiB, chainDepth: 2 },
    }
  }

  async vmLayers(ref: string): Promise<VmLayers> {
    this.called('vmLayers')
    const { id, name } = this.vm(ref)
    const delta = { role: 'delta' as const, owner: { kind: 'vm' as const, id, name }, allocatedBytes: 4 * MiB }
    return { memory: [delta], disks: [] }
  }

  async readConsole(ref: string, { tailLines, follow, signal }: ConsoleOptions) {
    this.called('readConsole')
    this.vm(ref)
    const bus = this.bus
    async function* read() {
      const lines = ['one\n', 'two\n', 'three\n']
      for (const line of lines.slice(tailLines === undefined ? 0 : Math.max(0, lines.length - tailLines)))
        yield Buffer.from(line)
      while (follow && !signal.aborted) {
        const line = await new Promise<string | undefined>((resolve) => {
          bus.once('console', resolve)
          signal.addEventListener('abort', () => resolve(undefined), { once: true })
        })
        if (line !== undefined) yield Buffer.from(line)
      }
    }
    return read()
  }

  async createTemplate(request: TemplateCreate, context?: CallContext): Promise<Action<TemplateCreated>> {
    this.called('createTemplate')
    const template = fakeTemplate(request.name)
    if (request.from === 'vm') this.vm(request.vm)
    else this.#image(request.image)
    return this.act('template.create', { kind: 'template', id: template.id, name: template.name }, context, () => {
      this.templates.set(template.id, template)
      return { template }
    })
  }

  async listTemplates(query: PageQuery): Promise<Page<Template>> {
    return pageOf([...this.templates.values()], query)
  }

  async getTemplate(ref: string): Promise<Template> {
    return this.#template(ref)
  }

  async updateTemplate(ref: string, changes: Parameters<Engine['updateTemplate']>[1]): Promise<Template> {
    return Object.assign(this.#template(ref), changes)
  }

  async removeTemplate(ref: string, context?: CallContext): Promise<Action<void>> {
    const template = this.#template(ref)
    const children = [...this.vms.values()].filter(({ parentId }) => parentId === template.id).map(({ name }) => name)
    if (children.length > 0)
      throw new RametError('IN_USE', { message: `“${template.name}” has children`, details: { children } })
    return this.act('template.remove', { kind: 'template', id: template.id, name: template.name }, context, () => {
      this.templates.delete(template.id)
    })
  }

  async listImages(query: PageQuery): Promise<Page<Image>> {
    return pageOf([...this.images.values()], query)
  }

  async getImage(ref: string): Promise<Image> {
    return this.#image(ref)
  }

  async buildImage(request: { recipe: string; name?: string | undefined }, context?: CallContext) {
    return this.#addImage('image.build', fakeImage(request.name ?? request.recipe), context)
  }

  async importImage(request: ImageImport, body: AsyncIterable<Uint8Array>, context?: CallContext) {
    this.called('importImage')
    let storedBytes = 0
    for await (const chunk of body) storedBytes += chunk.length
    return this.#addImage('image.import', { ...fakeImage(request.name), storedBytes }, context)
  }

  #addImage(kind: OperationKind, image: Image, context?: CallContext): Action<Image> {
    return this.act(kind, { kind: 'image', id: image.id, name: image.name }, context, () => {
      this.images.set(image.id, image)
      return image
    })
  }

  async removeImage(ref: string, context?: CallContext): Promise<Action<void>> {
    const image = this.#image(ref)
    return this.act('image.remove', { kind: 'image', id: image.id, name: image.name }, context, () => {
      this.images.delete(image.id)
    })
  }

  #process(execId: string): FakeProcess {
    const process = this.processes.get(execId)
    if (process === undefined) throw new RametError('NOT_FOUND', { message: `there is no process ${execId}` })
    return process
  }

  #attach(process: FakeProcess, attach: ExecAttach): ExecSession {
    const session = new FakeSession(process, attach)
    this.sessions.push(session)
    return session
  }

  async startExec(ref: string, request: ExecStart): Promise<ExecSession> {
    this.called('startExec')
    this.vm(ref)
    const execId = request.execId ?? newId('exec')
    const process = this.processes.get(execId) ?? new FakeProcess(execId, request)
    this.processes.set(execId, process)
    if (!request.stdin && process.exec.argv[0] === 'cat') process.endOfInput()
    return this.#attach(process, { stdoutOffset: 0, stderrOffset: 0 })
  }

  async attachExec(ref: string, execId: string, attach: ExecAttach): Promise<ExecSession> {
    this.called('attachExec')
    this.vm(ref)
    return this.#attach(this.#process(execId), attach)
  }

  async listExecs(ref: string): Promise<Exec[]> {
    this.vm(ref)
    return [...this.processes.values()].map((process) => process.info())
  }

  async signalExec(ref: string, execId: string, signal: string): Promise<void> {
    this.vm(ref)
    this.#process(execId).end({ signal })
  }

  async removeExec(ref: string, execId: string): Promise<void> {
    this.vm(ref)
    this.#process(execId)
    this.processes.delete(execId)
  }

  #file(path: string): Buffer {
    const file = this.files.get(path)
    if (file === undefined) throw new RametError('NOT_FOUND', { message: `${path}: no such file` })
    return file
  }

  async readFile(ref: string, path: string, range: { offset: number; lengthBytes?: number | undefined }) {
    this.called('readFile')
    this.vm(ref)
    const end = range.lengthBytes === undefined ? undefined : range.offset + range.lengthBytes
    const bytes = this.#file(path).subarray(range.offset, end)
    async function* body() {
      for (let at = 0; at < bytes.length; at += 4096) {
        if (path.startsWith('/breaks') && at > bytes.length / 2)
          throw new RametError('AGENT_LINK_LOST', { message: 'the link to the guest was lost' })
        yield bytes.subarray(at, at + 4096)
      }
    }
    return { entry: fileEntry(path, bytes.length), lengthBytes: bytes.length, body: body() } satisfies FileRead
  }

  async writeFile(ref: string, path: string, body: AsyncIterable<Uint8Array>): Promise<FileEntry> {
    this.called('writeFile')
    this.vm(ref)
    const chunks: Uint8Array[] = []
    for await (const chunk of body) chunks.push(chunk)
    this.files.set(path, Buffer.concat(chunks))
    return await this.statFile(ref, path)
  }

  async statFile(ref: string, path: string): Promise<FileEntry> {
    this.vm(ref)
    return fileEntry(path, this.#file(path).length)
  }

  async listFiles(ref: string, path: string): Promise<FileEntry[]> {
    this.vm(ref)
    return [...this.files]
      .filter(([name]) => name.startsWith(path))
      .map(([name, { length }]) => fileEntry(name, length))
  }

  async makeDirectory(ref: string, { path }: { path: string }): Promise<FileEntry> {
    this.vm(ref)
    return { ...fileEntry(path, 0), kind: 'directory' }
  }

  async removeFile(ref: string, path: string): Promise<void> {
    this.vm(ref)
    this.#file(path)
    this.files.delete(path)
  }

  async renameFile(ref: string, { from, to }: { from: string; to: string }): Promise<FileEntry> {
    this.vm(ref)
    this.files.set(to, this.#file(from))
    this.files.delete(from)
    return await this.statFile(ref, to)
  }

  async watchFiles(ref: string, path: string, _options: unknown, signal: AbortSignal) {
    this.vm(ref)
    const bus = this.bus
    async function* watch(): AsyncGenerator<FileEvent> {
      yield { type: 'created', path: `${path}/a`, kind: 'file' }
      await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
      bus.emit('watch-ended')
    }
    return watch()
  }

  async listPorts(ref: string): Promise<Port[]> {
    return this.vm(ref).ports
  }

  async publishPort(ref: string, { guestPort, hostPort, hostAddress }: PortPublish): Promise<Port> {
    this.called('publishPort')
    const port = { guestPort, hostPort: hostPort ?? 40_000, hostAddress }
    this.vm(ref).ports.push(port)
    return port
  }

  async unpublishPort(ref: string, guestPort: number): Promise<void> {
    const vm = this.vm(ref)
    if (!vm.ports.some((port) => port.guestPort === guestPort))
      throw new RametError('NOT_FOUND', { message: `port ${guestPort} of “${vm.name}” is not published` })
    vm.ports = vm.ports.filter((port) => port.guestPort !== guestPort)
  }

  async hostInfo(): Promise<HostInfo> {
    return {
      id: 'host-1',
      name: 'test',
      version: '0',
      capabilities: [],
      accelerator: 'tcg',
      cpus: 2,
      memoryTotalBytes: 1024 * MiB,
      memoryAvailableBytes: 512 * MiB,
      diskTotalBytes: 1024 * MiB,
      diskAvailableBytes: 512 * MiB,
      vmCount: this.vms.size,
      runningCount: this.vms.size,
      startedAt: now(),
    }
  }

  async hostStats(): Promise<HostStats> {
    return {
      at: now(),
      memory: {
        ...{ totalBytes: 1024 * MiB, availableBytes: 768 * MiB, freeBytes: 300 * MiB, reserveBytes: 256 * MiB },
        ...{ promisedBytes: 0, startableBytes: 512 * MiB, refusedCount: 1 },
      },
      cache: {
        ...{ kind: 'kernel', heldBytes: 96 * MiB, freeHeldBytes: 96 * MiB, lazyFreeBytes: 80 * MiB },
        ...{ capacityBytes: 512 * MiB, hits: 90, misses: 8, lost: 2, hitRatio: 0.9, puts: 800, refused: 0 },
        ...{ replaced: 5, servedFromHeldCount: 7, gaveBackBytes: 16 * MiB },
      },
    }
  }

  async doctor(): Promise<DoctorReport> {
    return { usable: true, checks: [{ id: 'kvm', title: 'KVM', verdict: 'slow', detail: 'guests hang' }] }
  }

  async tree(ref?: string): Promise<Tree> {
    if (ref !== undefined) this.vm(ref)
    const nodes = [...this.vms.values()].map(({ id, name, state, generation }) => ({
      kind: 'vm' as const,
      id,
      name,
      state,
      generation,
    }))
    return { nodes }
  }

  async metrics(): Promise<MetricsSnapshot> {
    return {
      vmsByState: { running: this.vms.size },
      templatesByState: {},
      snapshotsByState: { ready: this.snapshots.size },
      operationsByState: {},
      armedCount: 3,
      fillingCount: 0,
      privateBytes: 4 * MiB,
      sharedBytes: 60 * MiB,
      vmmBytes: 33 * MiB,
      baseBytes: 64 * MiB,
      host: await this.hostStats(),
      diskChainDepth: 2,
      orphansReaped: { process: 2 },
    }
  }

  onMeasurement(listener: (measurement: Measurement) => void): () => void {
    this.#measure = listener
    return () => {
      this.#measure = undefined
    }
  }

  ready(): boolean {
    return this.isReady
  }
}

function fileEntry(path: string, sizeBytes: number): FileEntry {
  const name = path.split('/').at(-1) ?? ''
  return { name, path, kind: 'file', sizeBytes, mode: 0o644, uid: 0, gid: 0, modifiedAt: now() }
}
