import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { setTimeout as after, setImmediate as breathe } from 'node:timers/promises'
import { repositoryRoot } from '../../tools/rules/source.ts'

const startMs = 60_000
const stopMs = 60_000
const keptLogChars = 200_000

/** How a daemon came to its end. */
export interface DaemonExit {
  code: number | null
  signal: NodeJS.Signals | null
}

/** One daemon process, from its start to its end. */
export class Daemon {
  readonly pid: number
  /** resolves when the process has ended, whoever ended it */
  readonly ended: Promise<DaemonExit>
  #log = ''
  #exit: DaemonExit | undefined
  readonly #child: ChildProcess

  private constructor(child: ChildProcess) {
    this.#child = child
    this.pid = child.pid ?? 0
    this.ended = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        this.#exit = { code, signal }
        resolve(this.#exit)
      })
    })
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8')
      stream?.on('data', (text: string) => {
        this.#log = (this.#log + text).slice(-keptLogChars)
      })
    }
  }

  /** Starts one. It may die before it serves, as it does with a fault in its recovery: then `serving` says so. */
  static spawn(environment: NodeJS.ProcessEnv, args: readonly string[] = []): Daemon {
    const program = join(repositoryRoot, 'src/server/main.ts')
    const child = spawn(process.execPath, [program, ...args], {
      cwd: '/',
      env: environment,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    return new Daemon(child)
  }

  /** Resolves once it serves requests. @throws when it ends first */
  async serving(): Promise<this> {
    const said = new Promise<void>((resolve) => {
      const look = () => {
        if (this.#log.includes('"msg":"serving"')) resolve()
      }
      this.#child.stdout?.on('data', look)
      look()
    })
    const timer = AbortSignal.timeout(startMs)
    const late = new Promise<never>((_, reject) => {
      timer.addEventListener('abort', () => reject(new Error(`the daemon does not serve:\n${this.log}`)), {
        once: true,
      })
    })
    const died = this.ended.then((exit) => {
      throw new Error(`the daemon ended (${JSON.stringify(exit)}) before it served:\n${this.log}`)
    })
    await Promise.race([said, died, late])
    return this
  }

  get log(): string {
    return this.#log
  }

  /** Waits for its end. @throws when it does not come: the fault that should have ended it was not reached */
  async endsWithin(timeoutMs: number): Promise<DaemonExit> {
    return Promise.race([this.ended, lateAfter(timeoutMs, () => `the daemon runs on:\n${this.log.slice(-3000)}`)])
  }

  /** Waits until a fault has stopped it, lets `meanwhile` happen, and has it go on. */
  async whileStoppedAt(point: string, timeoutMs: number, meanwhile: () => Promise<void> | void): Promise<void> {
    const said = new Promise<void>((resolve) => {
      const look = () => {
        if (this.#log.includes(`stopped at ${point}`)) resolve()
      }
      this.#child.stderr?.on('data', look)
      look()
    })
    await Promise.race([said, lateAfter(timeoutMs, () => `${point} was not reached:\n${this.log.slice(-3000)}`)])
    // It says so just before it stops.
    while (!/^State:\s+T/m.test(readFileSync(`/proc/${this.pid}/status`, 'utf8'))) await breathe()
    await meanwhile()
    this.#child.kill('SIGCONT')
  }

  /** Resolves when its log has a line like this, also when it has had it for long. */
  async says(pattern: RegExp, timeoutMs: number): Promise<void> {
    const said = new Promise<void>((resolve) => {
      const look = () => {
        if (pattern.test(this.#log)) resolve()
      }
      this.#child.stdout?.on('data', look)
      this.#child.stderr?.on('data', look)
      look()
    })
    await Promise.race([said, lateAfter(timeoutMs, () => `nothing like ${pattern}:\n${this.log.slice(-3000)}`)])
  }

  get running(): boolean {
    return this.#exit === undefined
  }

  /** As a crash ends it: no handler runs. */
  async kill9(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.ended
  }

  /** As an administrator ends it. */
  async stop(): Promise<void> {
    if (!this.running) return
    this.#child.kill('SIGTERM')
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), stopMs)
    const exit = await this.ended
    clearTimeout(timer)
    assert.deepEqual(exit, { code: 0, signal: null }, `the daemon did not stop cleanly:\n${this.log.slice(-2000)}`)
  }
}

async function lateAfter(timeoutMs: number, message: () => string): Promise<never> {
  await after(timeoutMs, undefined, { ref: false })
  throw new Error(message())
}
