/** Processes of the fake guest, and sessions with them, with true offsets, windows and acknowledgements. */
import { EventEmitter, once } from 'node:events'
import type { Exec, ExecStart } from '../../api/exec.ts'
import type { OutputChannel } from '../../api/exec-socket.ts'
import type { ExecAttach, ExecOutput, ExecSession } from '../../engine/contract.ts'
import { RametError } from '../../shared/errors.ts'

export const fakeWindowBytes = 64 * 1024

/** Byte at `position` of what the program `bytes` writes. */
export const patternByte = (position: number) => (position * 31 + (position >> 8)) & 255

interface Exit {
  exitCode?: number
  signal?: string
}

/** Knows `cat`, `bytes N [CHANNEL]`, `exit N`, `sleep` and `echo TEXT`. */
export class FakeProcess {
  readonly exec: Exec
  readonly changes = new EventEmitter().setMaxListeners(0)
  readonly kept: Record<OutputChannel, Buffer> = { stdout: Buffer.alloc(0), stderr: Buffer.alloc(0) }
  readonly from: Record<OutputChannel, number> = { stdout: 0, stderr: 0 }
  stdinOffset = 0
  sessionNumber = 0
  resized: { cols: number; rows: number } | undefined
  exit: Exit | undefined
  #work: Promise<void> = Promise.resolve()

  constructor(execId: string, request: ExecStart) {
    const argv = typeof request.command === 'string' ? ['/bin/sh', '-c', request.command] : request.command
    this.exec = {
      execId,
      argv,
      state: 'running',
      pid: 42,
      detached: request.detached,
      attached: true,
      pty: request.pty !== undefined,
      startedAt: new Date(0).toISOString(),
      offsets: { stdin: 0, stdout: 0, stderr: 0 },
    }
    const [program = '', first = '', second = 'stdout'] =
      typeof request.command === 'string' ? request.command.split(' ') : argv
    if (program === 'bytes') this.#then(() => this.#pattern(second as OutputChannel, Number(first)))
    else if (program === 'echo') this.#then(() => this.#emit('stdout', Buffer.from(`${first}\n`)))
    else if (!['cat', 'exit', 'sleep'].includes(program))
      throw new RametError('GUEST_REFUSED', { message: `${program}: no such program` })
    if (['bytes', 'echo', 'exit'].includes(program))
      this.#then(async () => this.end({ exitCode: program === 'exit' ? Number(first) : 0 }))
  }

  info(): Exec {
    const { stdout, stderr } = this.kept
    return {
      ...this.exec,
      state: this.exit === undefined ? 'running' : 'exited',
      ...this.exit,
      offsets: {
        stdin: this.stdinOffset,
        stdout: this.from.stdout + stdout.length,
        stderr: this.from.stderr + stderr.length,
      },
    }
  }

  accept(data: Uint8Array): void {
    this.stdinOffset += data.length
    const copy = Buffer.from(data)
    this.#then(() => this.#emit('stdout', copy))
  }

  endOfInput(): void {
    this.#then(async () => this.end({ exitCode: 0 }))
  }

  end(exit: Exit): void {
    this.exit ??= exit
    this.changes.emit('change')
  }

  ack(channel: OutputChannel, offset: number): void {
    const bytes = offset - this.from[channel]
    if (bytes <= 0) return
    this.kept[channel] = this.kept[channel].subarray(bytes)
    this.from[channel] = offset
    this.changes.emit('change')
  }

  #then(step: () => Promise<void>): void {
    this.#work = this.#work.then(step)
  }

  async #pattern(channel: OutputChannel, length: number): Promise<void> {
    for (let at = 0; at < length && this.exit === undefined; at += 10_007) {
      const chunk = Buffer.alloc(Math.min(10_007, length - at))
      for (let i = 0; i < chunk.length; i += 1) chunk[i] = patternByte(at + i)
      await this.#emit(channel, chunk)
    }
  }

  async #emit(channel: OutputChannel, data: Buffer): Promise<void> {
    while (this.kept[channel].length + data.length > fakeWindowBytes && this.exit === undefined)
      await once(this.changes, 'change')
    this.kept[channel] = Buffer.concat([this.kept[channel], data])
    this.changes.emit('change')
  }
}

export class FakeSession implements ExecSession {
  readonly exec: Exec
  readonly stdinOffset: number
  readonly stdoutOffset: number
  readonly stderrOffset: number
  readonly windowBytes = fakeWindowBytes
  readonly output: AsyncIterable<ExecOutput>
  released: 'closed' | 'lost' | 'detach' | undefined
  readonly #process: FakeProcess
  readonly #number: number
  #severed: RametError | undefined

  constructor(process: FakeProcess, attach: ExecAttach) {
    this.#process = process
    process.sessionNumber += 1
    this.#number = process.sessionNumber
    process.changes.emit('change')
    this.exec = process.info()
    this.stdinOffset = process.stdinOffset
    this.stdoutOffset = Math.max(attach.stdoutOffset, process.from.stdout)
    this.stderrOffset = Math.max(attach.stderrOffset, process.from.stderr)
    this.output = this.#read()
  }

  /** The guest link breaks. */
  sever(): void {
    this.#severed = new RametError('AGENT_LINK_LOST', { message: 'the link to the guest was lost' })
    this.#process.changes.emit('change')
  }

  ack(channel: OutputChannel, offset: number): void {
    this.#process.ack(channel, offset)
  }

  async write(offset: number, data: Uint8Array): Promise<void> {
    const process = this.#process
    if (offset > process.stdinOffset)
      throw new RametError('INVALID_ARGUMENT', { message: `input has a gap before offset ${offset}` })
    const fresh = data.subarray(process.stdinOffset - offset)
    if (fresh.length > 0) process.accept(fresh)
    process.changes.emit('change')
  }

  async end(offset: number): Promise<void> {
    if (offset !== this.#process.stdinOffset)
      throw new RametError('INVALID_ARGUMENT', { message: 'the input is not complete' })
    this.#process.endOfInput()
  }

  async resize(size: { cols: number; rows: number }): Promise<void> {
    if (!this.exec.pty) throw new RametError('INVALID_ARGUMENT', { message: 'it has no terminal' })
    this.#process.resized = size
  }

  async signal(name: string): Promise<void> {
    this.#process.end({ signal: name })
  }

  async release(how: 'closed' | 'lost' | 'detach'): Promise<void> {
    if (this.released !== undefined) return
    this.released = how
    if (how === 'closed' && !this.exec.detached && this.#process.exit === undefined)
      this.#process.end({ signal: 'SIGHUP' })
    this.#process.changes.emit('change')
  }

  async *#read(): AsyncGenerator<ExecOutput> {
    const process = this.#process
    const at = { stdout: this.stdoutOffset, stderr: this.stderrOffset }
    let acked = this.stdinOffset
    while (this.released === undefined && this.#number === process.sessionNumber) {
      if (this.#severed !== undefined) throw this.#severed
      let quiet = true
      if (process.stdinOffset > acked) {
        acked = process.stdinOffset
        quiet = false
        yield { type: 'stdin-ack', offset: acked }
      }
      for (const channel of ['stdout', 'stderr'] as const) {
        const data = process.kept[channel].subarray(at[channel] - process.from[channel])
        if (data.length === 0) continue
        const offset = at[channel]
        at[channel] += data.length
        quiet = false
        yield { type: 'data', channel, offset, data }
      }
      if (!quiet) continue
      if (process.exit !== undefined) {
        yield { type: 'exit', ...process.exit, stdoutOffset: at.stdout, stderrOffset: at.stderr }
        return
      }
      await once(process.changes, 'change')
    }
  }
}
