import { type ChildProcess, spawn } from 'node:child_process'
import { constants } from 'node:os'
import type { Readable } from 'node:stream'
import { limits } from '../../../shared/limits.ts'
import type { Fields } from '../../wire/field-table.ts'

/** One output channel of a fake guest's process: kept until acknowledged, at most a window. */
class Channel {
  start = 0
  kept: Buffer = Buffer.alloc(0)
  ended = false
  readonly #source: Readable
  readonly #keepsRing: () => boolean

  constructor(source: Readable, keepsRing: () => boolean, onChange: () => void) {
    this.#source = source
    this.#keepsRing = keepsRing
    source.on('data', (chunk: Buffer) => {
      this.kept = Buffer.concat([this.kept, chunk])
      this.settle()
      onChange()
    })
    source.on('end', () => {
      this.ended = true
      onChange()
    })
  }

  get end(): number {
    return this.start + this.kept.length
  }

  drop(before: number): void {
    const count = Math.min(Math.max(0, before - this.start), this.kept.length)
    this.kept = this.kept.subarray(count)
    this.start += count
    this.settle()
  }

  /** Full: the process waits, or the oldest makes room when nobody is expected to read it. */
  settle(): void {
    const excess = this.kept.length - limits.streamWindowBytes
    if (excess > 0 && this.#keepsRing()) {
      this.kept = this.kept.subarray(excess)
      this.start += excess
    }
    if (this.kept.length >= limits.streamWindowBytes && !this.#keepsRing()) this.#source.pause()
    else this.#source.resume()
  }
}

/** A real process of this host that plays one in the guest. */
export class FakeProcess {
  readonly processId: number
  readonly request: Fields
  readonly channels: Record<1 | 2, Channel>
  readonly child: ChildProcess
  exit: Fields | undefined
  detached: boolean
  stdinOffset = 0
  /** who reads it now */
  onChange: (() => void) | undefined

  private constructor(processId: number, request: Fields, child: ChildProcess) {
    this.processId = processId
    this.request = request
    this.child = child
    this.detached = ((request.flags ?? 0) & 2) !== 0
    const keepsRing = () => this.detached && this.onChange === undefined
    const changed = () => this.onChange?.()
    const { stdout, stderr } = child
    if (stdout === null || stderr === null) throw new Error('a child without pipes')
    this.channels = { 1: new Channel(stdout, keepsRing, changed), 2: new Channel(stderr, keepsRing, changed) }
    child.stdin?.on('error', () => {})
    child.on('exit', (code, signal) => {
      this.exit = signal === null ? { exitCode: code ?? 0 } : { signal: constants.signals[signal] }
      changed()
    })
  }

  /** @throws the error of spawn, with its errno */
  static async start(processId: number, request: Fields): Promise<FakeProcess> {
    const [program = '', ...args] = request.arg ?? []
    const env = { ...process.env, ...Object.fromEntries((request.env ?? []).map((pair) => splitPair(pair))) }
    const child = spawn(program, args, { cwd: request.cwd, env, detached: true, stdio: 'pipe' })
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve)
      child.once('error', reject)
    })
    if (((request.flags ?? 0) & 4) !== 0) child.stdin.end()
    return new FakeProcess(processId, request, child)
  }

  release(): void {
    this.onChange = undefined
    for (const channel of Object.values(this.channels)) channel.settle()
  }

  entry(): Fields {
    return {
      processId: this.processId,
      pid: this.child.pid,
      arg: this.request.arg,
      tag: this.request.tag,
      state: this.exit === undefined ? 'running' : 'exited',
      startedNs: 1n,
      ...this.exit,
      flags: (this.detached ? 2 : 0) | (this.onChange === undefined ? 0 : 32),
      stdinOffset: this.stdinOffset,
      stdoutOffset: this.channels[1].start,
      stderrOffset: this.channels[2].start,
    }
  }
}

function splitPair(pair: string): [string, string] {
  const at = pair.indexOf('=')
  return [pair.slice(0, at), pair.slice(at + 1)]
}
