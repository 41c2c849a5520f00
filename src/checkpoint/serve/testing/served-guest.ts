/** For tests: a guest in a checkpoint, and QEMUs that are restored from it by a page server of their own. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ProcessIdentity, signalProcess, waitForExit } from '../../../host/process-identity.ts'
import { pageBytes } from '../../../memory/base.ts'
import type { OpportunisticCache } from '../../../opportunistic/cache.ts'
import type { QemuProcess } from '../../../qemu/process.ts'
import { counterPasses, GuestFixture, type TestTemplate } from '../../../qemu/testing/guest-fixture.ts'
import { silentLog } from '../../../shared/log.ts'
import { fillRandom, fillText, randomOf } from '../../file/testing/sample.ts'
import { type CheckpointParts, type WriteOptions, type WrittenCheckpoint, writeCheckpoint } from '../../file/write.ts'
import { PageServerClient } from '../client.ts'
import { ensurePageServer } from '../ensure.ts'
import { type Notice, type RestoreRequest, socketName } from '../protocol.ts'
import { PageServer } from '../server.ts'

export interface Checkpointed {
  readonly path: string
  readonly written: WrittenCheckpoint
  /** what must be in the restored guest's memory */
  readonly memory: Buffer
  readonly template: TestTemplate
}

export interface CheckpointChanges {
  /** of the guest's memory, before it is stored */
  readonly alter?: (memory: Buffer) => void
  readonly isBase?: (page: number) => boolean
  readonly write?: WriteOptions
  readonly parts?: Partial<CheckpointParts>
}

/** From here on the firmware touches nothing. */
export const freeFromPage = (40 * 1024 * 1024) / pageBytes

/** Text, noise and zeros where the firmware has left nothing. */
export function addContent(memory: Buffer, seed = 1): void {
  const random = randomOf(seed)
  const text = Buffer.alloc(1024 * 1024)
  const noise = Buffer.alloc(256 * 1024)
  fillText(text, random)
  fillRandom(noise, random)
  for (let page = freeFromPage; page < memory.length / pageBytes; page += 1) {
    const kind = random(8)
    if (kind === 0) continue
    const from = kind === 1 ? noise : text
    const start = random(from.length - pageBytes)
    from.copy(memory, page * pageBytes, start, start + pageBytes)
    memory.writeUInt32LE(page, page * pageBytes)
  }
}

export class ServedGuests implements AsyncDisposable {
  readonly fixture: GuestFixture
  readonly dataDir = mkdtempSync(join(tmpdir(), 'ramet-page-server-'))
  readonly #servers: ProcessIdentity[] = []
  readonly #here: PageServer[] = []
  readonly #clients: PageServerClient[] = []
  #count = 0

  constructor(fixture = new GuestFixture()) {
    this.fixture = fixture
  }

  /** A guest that counted, stopped and stored. */
  async checkpoint(changes: CheckpointChanges = {}): Promise<Checkpointed> {
    const { fixture } = this
    const parent = await fixture.start()
    await parent.qmp.execute('cont')
    await counterPasses(parent, 100)
    await parent.qmp.execute('stop')
    const template = await fixture.capture(parent)
    const memory = readFileSync(`/proc/self/fd/${template.memoryFd}`)
    await parent.kill()
    ;(changes.alter ?? addContent)(memory)
    const pageCount = memory.length / pageBytes
    const parts: CheckpointParts = {
      machine: fixture.machine,
      cpuFeatures: [],
      qemuVersion: '7.2.22',
      createdAt: new Date(),
      ramBlocks: template.devices.blocks,
      deviceState: template.devices.blob,
      roms: template.roms,
      order: {
        ...{ kind: 'physical', reason: 'there is no kernel in it' },
        pages: Uint32Array.from({ length: pageCount }, (_, page) => page),
      },
      pages: {
        read: (page, into) => {
          memory.copy(into, 0, page * pageBytes, (page + 1) * pageBytes)
          return changes.isBase?.(page) === true ? 'base' : 'data'
        },
      },
      ...changes.parts,
    }
    const path = join(this.dataDir, `memory-${this.#count++}.ckpt`)
    return { path, memory, template, written: await writeCheckpoint(path, parts, { workerCount: 1, ...changes.write }) }
  }

  /** A QEMU that listens for its migration, its guest to be paused when it has come. */
  async destination(): Promise<QemuProcess> {
    const qemu = await this.fixture.start(this.fixture.seat({ incoming: true }))
    const capabilities = ['events', 'postcopy-ram'].map((capability) => ({ capability, state: true }))
    await qemu.qmp.execute('migrate-set-capabilities', { capabilities })
    await qemu.qmp.execute('migrate-incoming', { uri: 'unix:restore.sock' })
    return qemu
  }

  request({ path, written }: Checkpointed, qemu: QemuProcess, changes: Partial<RestoreRequest> = {}): RestoreRequest {
    return {
      ...{ restoreId: `restore-${qemu.identity.pid}`, vmName: 'test', checkpoint: { path }, digest: written.digest },
      ...{ qemuSocket: join(qemu.dir, 'restore.sock'), qemuProcess: qemu.identity, policy: 'adaptive', fill: 'paced' },
      ...{ workingSetPath: null, storeDelayMs: 0, takeOver: false },
      ...changes,
    }
  }

  /** @param env of a server that is started */
  async server(env: Record<string, string> = {}): Promise<PageServerClient> {
    const onSpawn = (identity: ProcessIdentity) => void this.#servers.push(identity)
    const client = await ensurePageServer({ dataDir: this.dataDir, env, onSpawn })
    this.#clients.push(client)
    return client
  }

  /** A server in this process, over a cache of the test's. */
  async serverHere(cache: OpportunisticCache): Promise<PageServerClient> {
    const socketPath = join(this.dataDir, socketName)
    const server = new PageServer({ socketPath, log: silentLog, cache })
    this.#here.push(server)
    await server.listen()
    const client = await PageServerClient.connect(socketPath)
    if (client === undefined) throw new TypeError('a server that listens can be connected to')
    this.#clients.push(client)
    return client
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) client.close()
    for (const server of this.#here) await server.close()
    for (const server of this.#servers) {
      signalProcess(server, 'SIGKILL')
      await waitForExit(server)
    }
    await this.fixture[Symbol.asyncDispose]()
    rmSync(this.dataDir, { recursive: true, force: true })
  }
}

/** The next notice that a restore is over, or cannot go on. */
export function outcome(client: PageServerClient, restoreId: string): Promise<Notice> {
  return new Promise((resolve) => {
    const stop = client.onNotice((notice) => {
      if (notice.restoreId !== restoreId || notice.notice === 'progress') return
      stop()
      resolve(notice)
    })
  })
}

/** Reads guest memory as the guest's devices do: what is missing is asked for. */
export async function readGuest(qemu: QemuProcess, offsetBytes: number, lengthBytes: number): Promise<Buffer> {
  const args = { val: offsetBytes, size: lengthBytes, filename: 'read' }
  // Each page is waited for in turn, which on a busy host takes long.
  await qemu.qmp.execute('pmemsave', args, { timeoutMs: 120_000 })
  return readFileSync(join(qemu.dir, 'read'))
}

/** @returns pages of a stopped guest that are not what they should be */
export async function differences(qemu: QemuProcess, memory: Buffer): Promise<number[]> {
  const found = await readGuest(qemu, 0, memory.length)
  const pages = Array.from({ length: memory.length / pageBytes }, (_, page) => page)
  return pages.filter(
    (page) =>
      found.compare(memory, page * pageBytes, (page + 1) * pageBytes, page * pageBytes, (page + 1) * pageBytes) !== 0,
  )
}
