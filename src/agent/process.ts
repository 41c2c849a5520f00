import { RametError } from '../shared/errors.ts'
import type { WaitOptions } from './deadline.ts'
import { ExitWatch, released } from './exit-watch.ts'
import { need } from './guest-error.ts'
import type { OutputItem } from './output-queue.ts'
import { type ExitStatus, resizeTerminal, signalProcess } from './proc.ts'
import type { AgentSession } from './session.ts'
import type { LinkStream } from './stream.ts'
import type { Fields } from './wire/field-table.ts'

export interface StartOptions extends WaitOptions {
  args: readonly string[]
  env?: Readonly<Record<string, string>> | undefined
  cwd?: string | undefined
  /** name or number, with optional `:group` */
  user?: string | undefined
  /** free text, shown in lists */
  tag?: string | undefined
  /** runs it on a terminal of this size */
  terminal?: { columns: number; rows: number } | undefined
  /** does not wait for anybody to read its output */
  detached?: boolean | undefined
  /** false: its stdin is empty */
  stdin?: boolean | undefined
  /** told of each acknowledgement of stdin: bytes the process has been given */
  onStdinAck?: ((count: number) => void) | undefined
}

export interface AttachOptions extends WaitOptions {
  processId: number
  /** first bytes wanted; everything before them is acknowledged. Absent: the oldest kept. */
  stdoutOffset?: number | undefined
  stderrOffset?: number | undefined
  /** leaves others attached */
  keepOthers?: boolean | undefined
  onStdinAck?: ((count: number) => void) | undefined
}

const flag = { terminal: 1, detached: 2, noStdin: 4, keepOthers: 8 } as const

/**
 * A guest process that this session is attached to. Its output waits in the guest until `ack` says that it has
 * reached whoever wants it, so whatever dies in between, attaching again at the last acknowledged offset loses
 * nothing and repeats nothing.
 */
export class AgentProcess {
  readonly processId: number
  readonly pid: number
  /** where each channel begins on this attachment; later than asked for means that output was dropped */
  readonly startOffsets: { readonly stdin: number; readonly stdout: number; readonly stderr: number }
  /** Resolves when the process has ended and all its output is queued here; rejects with what ended the stream. */
  readonly exit: Promise<ExitStatus>
  readonly #session: AgentSession
  readonly #stream: LinkStream
  #stdinWork: Promise<void> = Promise.resolve()

  private constructor(session: AgentSession, stream: LinkStream, answer: Fields, exit: Promise<ExitStatus>) {
    this.#session = session
    this.#stream = stream
    this.processId = need(answer.processId, 'processId')
    this.pid = answer.pid ?? 0
    this.startOffsets = {
      stdin: answer.stdinOffset ?? 0,
      stdout: answer.stdoutOffset ?? 0,
      stderr: answer.stderrOffset ?? 0,
    }
    this.exit = exit
  }

  /** @throws RametError `GUEST_REFUSED` (for example `ENOENT`: no such program), or as `AgentSession.request` */
  static start(session: AgentSession, options: StartOptions): Promise<AgentProcess> {
    const { args, env = {}, cwd, user, tag, terminal, detached = false, stdin = true, onStdinAck } = options
    const flags =
      (terminal === undefined ? 0 : flag.terminal) | (detached ? flag.detached : 0) | (stdin ? 0 : flag.noStdin)
    const fields: Fields = {
      arg: args,
      env: Object.entries(env).map(([name, value]) => `${name}=${value}`),
      cwd,
      user,
      tag,
      flags,
      columns: terminal?.columns,
      rows: terminal?.rows,
    }
    return AgentProcess.#open(session, 'proc.start', fields, onStdinAck, options)
  }

  /** @throws RametError `GUEST_REFUSED` (`ESRCH`: no such process), or as `AgentSession.request` */
  static attach(session: AgentSession, options: AttachOptions): Promise<AgentProcess> {
    const { processId, stdoutOffset, stderrOffset, keepOthers, onStdinAck } = options
    const fields: Fields = { processId, stdoutOffset, stderrOffset, flags: keepOthers ? flag.keepOthers : 0 }
    return AgentProcess.#open(session, 'proc.attach', fields, onStdinAck, options)
  }

  static async #open(
    session: AgentSession,
    operation: 'proc.start' | 'proc.attach',
    fields: Fields,
    onStdinAck: ((count: number) => void) | undefined,
    options: WaitOptions,
  ): Promise<AgentProcess> {
    const exit = new ExitWatch(session)
    const stream = await session.openStream(
      operation,
      fields,
      { ...exit.shape, ...(onStdinAck && { onAck: onStdinAck }) },
      options,
    )
    const answer = { processId: fields.processId, ...(await stream.answer) }
    exit.watch(stream, need(answer.processId, 'processId'), answer)
    return new AgentProcess(session, stream, answer, exit.promise)
  }

  /** What the process writes, as it comes. One consumer. Throws what ended the stream, after all that had arrived. */
  get output(): AsyncIterable<OutputItem> {
    return this.#stream.queue
  }

  /**
   * Everything before `offset` has arrived for good. Without it the guest sends 256 KiB and then waits.
   *
   * @throws RametError `INVALID_ARGUMENT` for more than has been received
   */
  ack(channel: 1 | 2, offset: number): void {
    this.#stream.ack(channel, offset)
  }

  /** Bytes of stdin sent, and given to the process, so far, by offset. */
  get stdinSent(): number {
    return Math.max(this.#stream.sent, this.startOffsets.stdin)
  }

  get stdinAcked(): number {
    return Math.max(this.#stream.sentAcked, this.startOffsets.stdin)
  }

  /**
   * Sends stdin, after what was given before, and resolves when the last of it is on its way.
   *
   * @param offset where the bytes begin in stdin; what was sent before is left out. Default: the end so far.
   * @throws RametError `INVALID_ARGUMENT` when bytes are missing before `offset`; what ended the stream
   */
  writeStdin(bytes: Uint8Array, offset?: number, signal?: AbortSignal): Promise<void> {
    return this.#inTurn(() => this.#writeStdin(bytes, offset ?? this.stdinSent, signal))
  }

  /** Ends stdin, after what was given before. */
  endStdin(): void {
    void this.#inTurn(() => this.#stream.sendEof())
  }

  #inTurn(step: () => void | Promise<void>): Promise<void> {
    const turn = this.#stdinWork.then(step)
    this.#stdinWork = turn.catch(() => {})
    return turn
  }

  async #writeStdin(bytes: Uint8Array, offset: number, signal: AbortSignal | undefined): Promise<void> {
    const repeated = this.stdinSent - offset
    if (repeated < 0) {
      throw new RametError('INVALID_ARGUMENT', {
        message: `stdin goes on at offset ${this.stdinSent}, not at ${offset}`,
        details: { offset: this.stdinSent },
      })
    }
    await this.#stream.send(bytes.subarray(repeated), signal)
  }

  signal(signal: number | string, options?: WaitOptions & { wholeGroup?: boolean }): Promise<void> {
    return signalProcess(this.#session, this.processId, signal, options)
  }

  resize(size: { columns: number; rows: number }, options?: WaitOptions): Promise<void> {
    return resizeTerminal(this.#session, this.processId, size, options)
  }

  /** Leaves the process to itself: it goes on, and the guest keeps the newest of its output. */
  async detach(options?: WaitOptions): Promise<void> {
    // First, so that the guest's end of the stream is no error to whoever reads the output.
    this.#stream.end(released())
    await this.#session.request('proc.detach', { processId: this.processId }, options)
  }

  /** Lets go, because somebody will attach again soon: the guest holds the process back rather than drop output. */
  release(): void {
    this.#stream.reset(released())
  }
}
