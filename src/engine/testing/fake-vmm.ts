import { randomBytes } from 'node:crypto'
import { createServer, type Server, type Socket } from 'node:net'
import { basename } from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import { defaultWelcome, type PeerConnection, ScriptedPeer } from '../../agent/testing/scripted-peer.ts'
import type { Fields } from '../../agent/wire/field-table.ts'
import { decodeFields } from '../../agent/wire/fields.ts'
import { type Frame, frameType } from '../../agent/wire/frame.ts'
import type { DetachedProcess, SpawnDetached } from '../../host/spawn-detached.ts'
import { spawnDetached } from '../../host/spawn-detached.ts'
import { machineFiles } from '../../qemu/machine.ts'
import { type DiskArguments, FakeDisks } from './fake-disks.ts'

/** What a test does before a request is answered: wait, or throw to have it refused. */
export type Interference = (what: string, guest: FakeGuest | undefined) => Promise<void> | void

/** What the processors of all fake QEMUs can do. */
export const cpuFeatures = ['lm', 'sse2']

const relayPath = fileURLToPath(new URL('./relay.ts', import.meta.url))

interface Servers {
  qmp: Server
  agent: ScriptedPeer
}

/**
 * A QEMU without a machine: a process that can be killed like one, and behind it a QMP server and an agent
 * in the test's own process. What it answers is what QEMU and our agent would.
 */
export class FakeGuest implements AsyncDisposable {
  readonly vmId: string
  readonly disks: FakeDisks
  #process: DetachedProcess | undefined
  /** QEMU's run state */
  status: string
  readonly linksUp = new Map<string, boolean>()
  /** every QMP command and agent operation so far, in order */
  readonly calls: string[] = []
  /** resolves when its process has ended */
  gone: Promise<void> = Promise.resolve()
  #hostname = ''
  readonly #interfere: Interference
  readonly #sockets = new Set<Socket>()
  readonly #servers: Servers

  private constructor(dir: string, status: string, interfere: Interference, servers: Servers) {
    this.vmId = basename(dir)
    this.disks = new FakeDisks(dir, (event, data) => this.#emit(event, data))
    this.status = status
    this.#interfere = interfere
    this.#servers = servers
  }

  /** Listens; the process that leads to it is yet to come. @param dir the vm's, which has its id for a name */
  static async start(dir: string, incoming: boolean, interfere: Interference): Promise<FakeGuest> {
    let guest: FakeGuest | undefined
    const agent = await ScriptedPeer.listen({
      welcome: () => ({ ...defaultWelcome, timeNs: nowNs() }),
      onFrame: (frame, connection) => void guest?.ask(frame, connection),
    })
    const qmp = createServer((socket) => guest?.serve(socket))
    guest = new FakeGuest(dir, incoming ? 'inmigrate' : 'prelaunch', interfere, { qmp, agent })
    await new Promise<void>((resolve) => qmp.listen(`${agent.path}.qmp`, resolve))
    return guest
  }

  /** What the relay needs to lead here. */
  get relayArguments(): string[] {
    const { path } = this.#servers.agent
    return [machineFiles.qmp, `${path}.qmp`, machineFiles.rescue, `${path}.qmp`, machineFiles.agent, path]
  }

  set process(process: DetachedProcess) {
    this.#process = process
    this.gone = new Promise((resolve) => process.child.once('exit', () => resolve()))
    process.child.once('exit', () => void this[Symbol.asyncDispose]())
  }

  get hostname(): string {
    return this.#hostname
  }

  /** The guest powers off: QEMU stays and says so. */
  powerOff(): void {
    this.status = 'shutdown'
    this.#emit('SHUTDOWN', { guest: true, reason: 'guest-shutdown' })
  }

  panic(): void {
    this.status = 'guest-panicked'
    this.#emit('GUEST_PANICKED', { action: 'pause' })
  }

  /** The guest's write meets a full file system: QEMU stops it and says so. */
  stall(): void {
    this.status = 'io-error'
    this.#emit('BLOCK_IO_ERROR', { action: 'stop', operation: 'write', nospace: true })
  }

  /** A page server has sent its devices: it is there, and stands. */
  arrive(): void {
    this.status = 'paused'
    this.#emit('MIGRATION', { status: 'postcopy-active' })
  }

  /** QEMU dies. */
  crash(): void {
    this.#process?.child.kill('SIGKILL')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    this.#servers.qmp.close()
    await this.#servers.agent[Symbol.asyncDispose]()
  }

  /** One QMP client. */
  serve(socket: Socket): void {
    this.#sockets.add(socket)
    socket.on('error', () => {})
    socket.once('close', () => this.#sockets.delete(socket))
    send(socket, { QMP: { version: {}, capabilities: ['oob'] } })
    let held = ''
    socket.on('data', (chunk: Buffer) => {
      const lines = (held + chunk.toString()).split('\n')
      held = lines.pop() ?? ''
      for (const line of lines) if (line.trim() !== '') void this.#command(socket, JSON.parse(line))
    })
  }

  async #command(socket: Socket, request: { [key: string]: unknown; id?: unknown; arguments?: Fields }): Promise<void> {
    const name = String(request.execute ?? request['exec-oob'])
    this.calls.push(name)
    try {
      await this.#interfere(name, this)
      send(socket, { id: request.id, return: this.#execute(name, Object(request.arguments)) ?? {} })
    } catch (error) {
      send(socket, { id: request.id, error: { class: 'GenericError', desc: String(error) } })
    }
  }

  #execute(name: string, args: { name?: string; up?: boolean; uri?: string } & DiskArguments): unknown {
    switch (name) {
      case 'query-status':
        return { status: this.status, running: this.status === 'running' }
      case 'cont':
        this.status = 'running'
        this.#emit('RESUME')
        return {}
      case 'stop':
        if (this.status === 'running') this.status = 'paused'
        return {}
      case 'quit':
        this.crash()
        return {}
      case 'migrate-incoming':
        // One that is restored has its state from a page server: `arrive`.
        if (args.uri?.startsWith('unix:')) return {}
        this.status = 'paused'
        this.#emit('MIGRATION', { status: 'completed' })
        return {}
      case 'set_link':
        this.linksUp.set(String(args.name), args.up === true)
        return {}
      case 'ringbuf-read':
        return ''
      case 'query-cpu-model-expansion':
        return { model: { name: 'max', props: Object.fromEntries(cpuFeatures.map((feature) => [feature, true])) } }
      case 'query-cpus-fast':
        return [{ 'qom-path': '/machine/cpu' }]
      case 'qom-get':
        return []
      default:
        return this.disks.execute(name, args) ?? {}
    }
  }

  /** One request to the agent. */
  async ask(frame: Frame, connection: PeerConnection): Promise<void> {
    if (frame.type !== frameType.request) return
    const { op = '', env: _env, seed: _seed, ...fields } = decodeFields(frame.payload)
    this.calls.push(op)
    try {
      await this.#interfere(op, this)
    } catch (error) {
      return connection.respond(frame.stream, { errno: 5, message: String(error) })
    }
    if (op === 'identity.apply') {
      this.#hostname = fields.hostname ?? ''
      return connection.respond(frame.stream, { ...fields, proof: randomBytes(32), timeNs: nowNs() })
    }
    connection.respond(frame.stream, { timeNs: nowNs(), durationNs: 1n })
    if (op === 'shutdown') this.powerOff()
  }

  #emit(event: string, data: object = {}): void {
    const nowMs = Date.now()
    const timestamp = { seconds: Math.floor(nowMs / 1000), microseconds: (nowMs % 1000) * 1000 }
    for (const socket of this.#sockets) send(socket, { event, data, timestamp })
  }
}

/** Starts fake QEMUs in place of real ones, and everything else for real. */
export class FakeVmm implements AsyncDisposable {
  /** newest of each vm */
  readonly guests = new Map<string, FakeGuest>()
  readonly #all: FakeGuest[] = []
  interfere: Interference = () => {}

  readonly spawn: SpawnDetached = async (options) => {
    if (!options.command.startsWith('qemu-system')) return spawnDetached(options)
    const dir = options.cwd ?? ''
    await this.interfere('spawn', undefined)
    const interfere: Interference = (what, guest) => this.interfere(what, guest)
    const guest = await FakeGuest.start(dir, options.args.includes('-incoming'), interfere)
    const { user: _user, ...rest } = options
    const started = await spawnDetached({
      ...rest,
      command: process.execPath,
      args: [relayPath, ...guest.relayArguments],
    })
    guest.process = started
    this.guests.set(guest.vmId, guest)
    this.#all.push(guest)
    return started
  }

  of(vmId: string): FakeGuest {
    const guest = this.guests.get(vmId)
    if (guest === undefined) throw new TypeError(`no QEMU was started for ${vmId}`)
    return guest
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const guest of this.#all) {
      guest.crash()
      await guest[Symbol.asyncDispose]()
    }
  }
}

function send(socket: Socket, message: object): void {
  if (!socket.destroyed) socket.write(`${JSON.stringify(message)}\n`)
}

function nowNs(): bigint {
  return BigInt(Date.now()) * 1_000_000n
}
