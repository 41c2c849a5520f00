import assert from 'node:assert/strict'
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { type Event, Ramet, RametApiError, type Template, type Vm, type VmState } from '../../src/client/index.ts'
import { repositoryRoot } from '../../tools/rules/source.ts'
import { Daemon } from './daemon.ts'
import { environmentOf } from './environment.ts'
import { findLeaks, type HostState, hostState } from './leaks.ts'

export interface HostOptions {
  /** recipes to build, unless they are in the cache */
  images?: readonly ('micro' | 'debian')[]
  /** faults of the first daemon, as `RAMET_FAULT` takes them */
  fault?: string
  /** further environment of the daemon */
  environment?: NodeJS.ProcessEnv
  /** where the data directory is made; a new directory under the temporary one when left out */
  parentDir?: string
}

/** What a run of the command line gave. */
export interface CliResult {
  code: number | null
  stdout: string
  stderr: string
}

const settleMs = 120_000
/** Not everything that is waited for is told as an event: what a guest has come to, files, other processes. */
const lookAgainMs = 500

/** A daemon on an empty data directory, its client and its command line. Ends without a trace, or the test fails. */
export class Host {
  readonly dataDir: string
  readonly ramet: Ramet
  /** everything that happened, in order */
  readonly events: Event[] = []
  #daemon: Daemon
  #closed = false
  readonly #parentDir: string
  readonly #environment: NodeJS.ProcessEnv
  readonly #before: HostState
  readonly #following = new AbortController()
  #told: (() => void)[] = []

  private constructor(parentDir: string, environment: NodeJS.ProcessEnv, fault: string | undefined) {
    this.#parentDir = parentDir
    this.dataDir = join(parentDir, 'data')
    this.#before = hostState()
    this.#environment = { ...environmentOf(this.dataDir), ...environment }
    this.ramet = new Ramet({ dataDirectory: this.dataDir })
    this.#daemon = this.#spawn(fault)
  }

  static async start(options: HostOptions = {}): Promise<Host> {
    const parentDir = options.parentDir ?? (await mkdtemp(join(tmpdir(), 'ramet-test-')))
    // Each vm has a user of its own, who passes through here.
    await chmod(parentDir, 0o711)
    const host = new Host(parentDir, options.environment ?? {}, options.fault)
    try {
      await host.#daemon.serving()
      void host.#follow()
      for (const recipe of options.images ?? ['micro']) await host.ramet.images.build({ recipe })
      return host
    } catch (error) {
      await host.abandon()
      throw error
    }
  }

  get daemon(): Daemon {
    return this.#daemon
  }

  #spawn(fault: string | undefined): Daemon {
    return Daemon.spawn({ ...this.#environment, ...(fault === undefined ? {} : { RAMET_FAULT: fault }) })
  }

  /** Ends the daemon as a crash does; nothing else ends. */
  async kill9(): Promise<void> {
    await this.#daemon.kill9()
  }

  /** Starts the next daemon. @throws when it does not get as far as serving */
  async restart(fault?: string): Promise<void> {
    if (this.#daemon.running) await this.#daemon.stop()
    this.#daemon = this.#spawn(fault)
    await this.#daemon.serving()
  }

  /** Runs `bin/ramet`. */
  cli(args: readonly string[], options: { stdin?: string; environment?: NodeJS.ProcessEnv } = {}): Promise<CliResult> {
    return new Promise((resolve, reject) => {
      const child = this.startCli(args, options.environment)
      const result: CliResult = { code: null, stdout: '', stderr: '' }
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        result.stdout += text
      })
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        result.stderr += text
      })
      child.stdin.on('error', () => {})
      child.stdin.end(options.stdin ?? '')
      child.once('error', reject)
      child.once('close', (code) => resolve({ ...result, code }))
    })
  }

  /** Starts `bin/ramet`, whose streams and signals are the caller's. */
  startCli(args: readonly string[], environment: NodeJS.ProcessEnv = {}): ChildProcessWithoutNullStreams {
    return spawn(join(repositoryRoot, 'bin/ramet'), args, {
      env: { ...this.#environment, ...environment },
      stdio: ['pipe', 'pipe', 'pipe'],
    })
  }

  /** Boots a vm of an image. */
  async boot(options: Partial<Parameters<Ramet['vms']['create']>[0]> & { image?: string } = {}): Promise<Vm> {
    return await this.ramet.vms.create({ image: 'micro', ...options } as Parameters<Ramet['vms']['create']>[0])
  }

  /** Boots, lets `prepare` bring it to a state, and makes a template of it. */
  async template(
    name: string,
    prepare: (vm: Vm) => Promise<unknown> = async () => {},
    options: { image?: string; memoryBytes?: number; armed?: number } = {},
  ): Promise<Template> {
    const { armed, ...create } = options
    const vm = await this.boot({ name: `${name}-parent`, ...create })
    await prepare(vm)
    const made = await this.ramet.templates.create({
      from: 'vm',
      vm: vm.id,
      name,
      ...(armed === undefined ? {} : { armed }),
    })
    return made.template
  }

  /** Resolves when `holds` does; looked at anew with every event, and now and then. */
  async until(what: string, holds: () => boolean | Promise<boolean>, timeoutMs = settleMs): Promise<void> {
    const deadlineMs = performance.now() + timeoutMs
    for (;;) {
      const next = new Promise<void>((resolve) => this.#told.push(resolve))
      if (await holds()) return
      const leftMs = deadlineMs - performance.now()
      if (leftMs <= 0) assert.fail(`${what} did not come true; the daemon said:\n${this.#daemon.log.slice(-3000)}`)
      let timer: NodeJS.Timeout | undefined
      const later = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, Math.min(leftMs, lookAgainMs))
      })
      await Promise.race([next, later])
      clearTimeout(timer)
    }
  }

  /** Resolves when a vm is in a state. */
  async untilState(vm: Vm, state: VmState, timeoutMs = settleMs): Promise<Vm> {
    await this.until(
      `${vm.name} is ${state} (it is ${vm.state})`,
      async () => (await vm.refresh()).state === state,
      timeoutMs,
    )
    return vm
  }

  /** Resolves when a vm is no more. */
  async untilGone(ref: string, timeoutMs = settleMs): Promise<void> {
    await this.until(`${ref} is gone`, () => this.gone(ref), timeoutMs)
  }

  async gone(ref: string): Promise<boolean> {
    try {
      await this.ramet.vms.get(ref)
      return false
    } catch (error) {
      if (error instanceof RametApiError && error.code === 'VM_NOT_FOUND') return true
      throw error
    }
  }

  async #follow(): Promise<void> {
    const tell = () => {
      for (const resolve of this.#told.splice(0)) resolve()
    }
    try {
      for await (const event of this.ramet.events({ signal: this.#following.signal, onReset: tell })) {
        this.events.push(event)
        tell()
      }
    } catch {
      // A daemon that is gone for long: what waits looks again by its timer.
    }
  }

  /** Removes all vms, snapshots and templates, children before parents. */
  async clear(): Promise<void> {
    await this.clearVms()
    for (const snapshot of await this.ramet.snapshots.list()) await snapshot.remove()
    const templates = await this.ramet.templates.list()
    for (const template of templates.reverse()) await template.remove()
  }

  async clearVms(): Promise<void> {
    const vms = await this.ramet.vms.list()
    await Promise.all(vms.map((vm) => vm[Symbol.asyncDispose]()))
  }

  /** Removes everything, ends the daemon, and fails when anything is left of it on the host. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    try {
      if (!this.#daemon.running) await this.restart()
      await this.clear()
      this.#following.abort()
      await this.#daemon.stop()
      const leaks = findLeaks(this.dataDir, this.#before)
      assert.deepEqual(leaks, [], `left on the host:\n${leaks.join('\n')}\n${this.#daemon.log.slice(-2000)}`)
    } finally {
      await this.abandon()
    }
  }

  /** Takes away what is left, without a check: for a test that has failed already. */
  async abandon(): Promise<void> {
    this.#closed = true
    this.#following.abort()
    await this.#daemon.kill9()
    for (const line of findLeaks(this.dataDir, this.#before)) {
      const pid = /^process (\d+)/.exec(line)?.[1]
      if (pid !== undefined) endProcess(Number(pid))
    }
    await rm(this.#parentDir, { recursive: true, force: true })
  }
}

/** For tests that need a host to themselves: closed, with all checks, unless the test has failed already. */
export async function withHost(options: HostOptions, run: (host: Host) => Promise<void>): Promise<void> {
  const host = await Host.start(options)
  try {
    await run(host)
  } catch (error) {
    await host.abandon()
    throw error
  }
  await host.close()
}

function endProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has ended meanwhile.
  }
}
