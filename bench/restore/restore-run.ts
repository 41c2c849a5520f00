import { randomUUID } from 'node:crypto'
import { closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { resumeSchedule } from '../../src/agent/opening.ts'
import { runCommand } from '../../src/agent/run-command.ts'
import type { AgentSession } from '../../src/agent/session.ts'
import { workingSetPath } from '../../src/checkpoint/file/working-set.ts'
import type { PageServerClient } from '../../src/checkpoint/serve/client.ts'
import type { PolicyName, RestoreRequest, RestoreSource } from '../../src/checkpoint/serve/protocol.ts'
import type { RestoreStats } from '../../src/checkpoint/serve/stats-schema.ts'
import { armIncoming, loadIncoming, resumeGuest } from '../../src/qemu/incoming.ts'
import { inheritedFds } from '../../src/qemu/machine.ts'
import { encodeStream } from '../../src/qemu/migration-stream/encode.ts'
import { limits } from '../../src/shared/limits.ts'
import { BenchGuest } from './bench-guest.ts'
import type { Moment } from './moment.ts'
import { Program } from './program.ts'
import type { Site } from './site.ts'

/** How memory comes to a guest that goes on from a moment. */
export type RestoreWay =
  /** page by page, from a page server */
  | ({ way: 'lazy'; client: PageServerClient } & LazyOptions)
  /** all of it first, by QEMU itself, out of a file */
  | { way: 'full' }
  /** there already: an immutable base is mapped, as by a child of a template */
  | { way: 'resident' }

export interface LazyOptions {
  policy: PolicyName
  storeDelayMs: number
  /** whether the rest comes by itself, beside what is asked for */
  fill: RestoreRequest['fill']
  /** adds to the checkpoint's working sets in the end */
  isRecorded?: boolean
  /** one in so many prefetched pages is withheld; 0: none; by size when left out */
  sampleEvery?: number | undefined
}

/** Milliseconds by stage. `answeredMs` counts from before QEMU is started, `loadedMs` from when it waits. */
export interface RunTimings {
  spawnMs: number
  loadedMs: number
  answeredMs: number
  execMs: number
  [stage: string]: number
}

/** A guest that goes on, with its agent asked and its first command run. */
export class RestoredGuest implements AsyncDisposable {
  readonly guest: BenchGuest
  readonly session: AgentSession
  readonly timings: RunTimings
  readonly #moment: Moment
  readonly #lazy: Lazy | undefined
  readonly #signal: AbortSignal
  #program: Promise<Program> | undefined

  private constructor(parts: {
    guest: BenchGuest
    session: AgentSession
    timings: RunTimings
    moment: Moment
    lazy: Lazy | undefined
    signal: AbortSignal
  }) {
    this.guest = parts.guest
    this.session = parts.session
    this.timings = parts.timings
    this.#moment = parts.moment
    this.#lazy = parts.lazy
    this.#signal = parts.signal
  }

  static async start(site: Site, moment: Moment, how: RestoreWay): Promise<RestoredGuest> {
    // What earlier restores have read would hide what is measured here.
    if (how.way === 'lazy') await how.client.giveBack(Number.MAX_SAFE_INTEGER)
    const startMs = performance.now()
    const source = how.way === 'lazy' ? new Lazy(how.client, moment, how) : how.way
    const lazy = source instanceof Lazy ? source : undefined
    // As a daemon does, which knows what is to be restored before there is a QEMU.
    lazy?.prepare().catch(() => {})
    const stream = how.way === 'full' ? openSync(moment.streamPath, 'r') : undefined
    const guest = await BenchGuest.start(site, {
      diskPath: moment.diskPath,
      incoming: true,
      ...(how.way === 'resident' ? { base: moment.base } : {}),
      ...(stream === undefined ? {} : { incomingFd: stream }),
    }).finally(() => stream !== undefined && closeSync(stream))
    try {
      await guest.connectAhead()
      await armIncoming(guest.qemu)
      const spawnedMs = performance.now()
      await load(site, guest, moment, source)
      const loadedMs = performance.now()
      const session = await guest.openSession(resumeSchedule, limits.linkConnectTimeoutMs)
      const answeredMs = performance.now()
      await lazy?.mark('answered')
      const execStartMs = performance.now()
      const { ok } = await runCommand(session, { args: ['/bin/true'], signal: site.signal })
      if (!ok) throw new Error('the first command in a restored guest failed')
      const execMs = performance.now() - execStartMs
      await lazy?.mark('exec')
      const timings = {
        spawnMs: spawnedMs - startMs,
        loadMs: loadedMs - spawnedMs,
        linkMs: answeredMs - loadedMs,
        loadedMs: answeredMs - spawnedMs,
        answeredMs: answeredMs - startMs,
        execMs,
      }
      return new RestoredGuest({ guest, session, timings, moment, lazy, signal: site.signal })
    } catch (error) {
      await lazy?.drop()
      await guest[Symbol.asyncDispose]()
      throw error
    }
  }

  /** The program with the heap, which goes on where it was. */
  program(): Promise<Program> {
    this.#program ??= Program.attach(this.session, this.#moment.heap, this.#signal)
    return this.#program
  }

  /** Has the whole heap read, and compares what was read with what was there. @returns as the caller sees it, milliseconds */
  async walk(): Promise<number> {
    const program = await this.program()
    const startMs = performance.now()
    const [, checksum] = await program.ask('walk')
    const walkMs = performance.now() - startMs
    if (checksum !== this.#moment.checksum) throw new Error('the heap of a restored guest is not what it was')
    await this.#lazy?.mark('walked')
    return walkMs
  }

  /** Keeps the counters of this moment. */
  async mark(name: string): Promise<RestoreStats | undefined> {
    return await this.#lazy?.mark(name)
  }

  /** What was counted until now. */
  async stats(): Promise<RestoreStats | undefined> {
    return await this.#lazy?.stats()
  }

  /** Lets all of its memory come, as fast as it can. */
  async complete(): Promise<RestoreStats | undefined> {
    return await this.#lazy?.complete(true)
  }

  /** Waits until all of its memory has come by itself. */
  async untilComplete(): Promise<RestoreStats | undefined> {
    return await this.#lazy?.complete(false)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#lazy?.drop()
    await this.guest[Symbol.asyncDispose]()
  }
}

async function load(site: Site, guest: BenchGuest, moment: Moment, source: Lazy | 'full' | 'resident'): Promise<void> {
  const { qemu } = guest
  if (source instanceof Lazy) return await source.begin(guest)
  if (source === 'resident') {
    const { devices, roms } = moment
    const parts = { machine: site.machine.machine, blocks: devices.blocks, pages: roms, deviceBlob: devices.blob }
    await loadIncoming(qemu, encodeStream(parts), { signal: site.signal })
  } else {
    const over = qemu.qmp.waitEvent(
      'MIGRATION',
      ({ data }) => data.status === 'completed' || data.status === 'failed',
      {
        timeoutMs: limits.incomingTimeoutMs,
      },
    )
    over.catch(() => {})
    await qemu.qmp.execute('migrate-incoming', { uri: `fd:${inheritedFds.incoming}` })
    const { data } = await over
    if (data.status !== 'completed') throw qemu.failure('QEMU could not load its guest from a file')
  }
  await resumeGuest(qemu)
}

const restoreSocket = 'restore.sock'

/** One restore in the hands of a page server. */
class Lazy {
  readonly #client: PageServerClient
  readonly #moment: Moment
  readonly #options: LazyOptions
  readonly #id = randomUUID()

  constructor(client: PageServerClient, moment: Moment, options: LazyOptions) {
    this.#client = client
    this.#moment = moment
    this.#options = options
  }

  /** Has the server decompress what earlier restores needed first, while QEMU starts. */
  prepare(): Promise<void> {
    return this.#client.prepare(this.#source())
  }

  #source(): RestoreSource {
    const { policy, storeDelayMs, isRecorded = false } = this.#options
    const { checkpointPath: path, checkpoint } = this.#moment
    return {
      ...{ checkpoint: { path }, digest: checkpoint.digest, policy, storeDelayMs },
      workingSetPath: isRecorded || policy === 'recorded' ? workingSetPath(path) : null,
    }
  }

  async begin({ qemu, dir }: BenchGuest): Promise<void> {
    const { fill, sampleEvery } = this.#options
    const { kind } = this.#moment
    const capabilities = ['events', 'postcopy-ram'].map((capability) => ({ capability, state: true }))
    await qemu.qmp.execute('migrate-set-capabilities', { capabilities })
    await qemu.qmp.execute('migrate-incoming', { uri: `unix:${restoreSocket}` })
    const running = qemu.qmp.waitEvent('RESUME', undefined, { timeoutMs: limits.incomingTimeoutMs })
    running.catch(() => {})
    // Said before there is a guest: it runs as soon as its devices are loaded.
    await qemu.qmp.execute('cont')
    await this.#client.serve({
      ...this.#source(),
      ...{ restoreId: this.#id, vmName: `bench-${kind}`, fill, takeOver: false },
      ...{ qemuSocket: join(dir, restoreSocket), qemuProcess: qemu.identity },
      ...(sampleEvery === undefined ? {} : { sampleEvery }),
    })
    await running
  }

  mark(name: string): Promise<RestoreStats> {
    return this.#client.mark(this.#id, name)
  }

  async stats(): Promise<RestoreStats> {
    const found = (await this.#client.list()).find(({ restoreId }) => restoreId === this.#id)
    if (found === undefined) throw new Error('the page server has forgotten a restore')
    return found.stats
  }

  async complete(hurried: boolean): Promise<RestoreStats> {
    const over = Promise.withResolvers<void>()
    const stop = this.#client.onNotice(({ notice, restoreId, error }) => {
      if (restoreId !== this.#id || notice === 'progress') return
      if (notice === 'completed') over.resolve()
      else over.reject(new Error(`a restore ended as ${notice}: ${error?.message}`))
    })
    try {
      if (hurried) await this.#client.hurry(this.#id)
      // It may have been over before anybody listened.
      if ((await this.stats()).state !== 'completed') await over.promise
      return await this.stats()
    } finally {
      stop()
      over.promise.catch(() => {})
    }
  }

  async drop(): Promise<void> {
    await this.#client.drop(this.#id)
  }
}
