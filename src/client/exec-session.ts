import type { Exec, ExecStartInput, PtySize } from '../api/exec.ts'
import type { ClientMessageInput, ServerMessage } from '../api/exec-socket.ts'
import { Retry } from './back-off.ts'
import { localError, RametApiError } from './errors.ts'
import { closeNormal, decodeFrame, encodeFrame, subprotocol } from './exec-frame.ts'
import { ExecInput } from './exec-input.ts'
import { ExecOutputStream, type OutputHandler } from './exec-output.ts'
import { neverReached, path, type Transport } from './transport.ts'
import { openSocket, type Socket, type SocketMessage } from './web-socket.ts'

/** How a process ended. */
export interface ExecExit {
  exitCode?: number | undefined
  signal?: string | undefined
}

export interface ExecSessionOptions {
  vm: string
  execId: string
  /** starts a process; without it the session attaches to one */
  start?: ExecStartInput | undefined
  /** where to go on in each output when attaching, bytes since the process began */
  offsets?: { stdout: number; stderr: number } | undefined
  onStdout: OutputHandler
  onStderr: OutputHandler
  signal?: AbortSignal | undefined
}

type Started = Extract<ServerMessage, { type: 'started' }>

/**
 * One process in a guest, seen through as many connections as it takes. The daemon may be killed and
 * started again under it: it attaches again by the process's id with the offsets it has, so that no byte
 * is lost or seen twice, and the process notices nothing.
 */
export class ExecSession {
  readonly #transport: Transport
  readonly #options: ExecSessionOptions
  readonly #signal: AbortSignal | undefined
  readonly #stdout: ExecOutputStream
  readonly #stderr: ExecOutputStream
  readonly input: ExecInput
  readonly #retry = new Retry()
  #socket: Socket | undefined
  #hasStarted = false
  #closing = false
  #size: PtySize | undefined
  /** said while there was no connection; said again on the next */
  #unsaid: ClientMessageInput[] = []
  #exit: ExecExit | undefined
  #resolveStarted: (exec: Exec) => void = () => {}
  #rejectStarted: (error: unknown) => void = () => {}
  /** resolves when the process is there */
  readonly started: Promise<Exec>
  /** resolves when it has ended and all its output has been dealt with; undefined after `close` */
  readonly ended: Promise<ExecExit | undefined>

  constructor(transport: Transport, options: ExecSessionOptions) {
    this.#transport = transport
    this.#options = options
    this.#signal = transport.withDefault(options.signal)
    const { stdout, stderr } = options.offsets ?? { stdout: 0, stderr: 0 }
    const acknowledge = (channel: 'stdout' | 'stderr') => (offset: number) =>
      this.#send({ type: 'ack', channel, offset })
    this.#stdout = new ExecOutputStream('stdout', options.onStdout, acknowledge('stdout'), stdout)
    this.#stderr = new ExecOutputStream('stderr', options.onStderr, acknowledge('stderr'), stderr)
    this.input = new ExecInput(
      (offset, data) => this.#socket?.send(encodeFrame('stdin', offset, data)),
      (offset) => this.#send({ type: 'eof', offset }),
    )
    this.started = new Promise((resolve, reject) => {
      this.#resolveStarted = resolve
      this.#rejectStarted = reject
    })
    this.ended = this.#run()
    // Both tell of one failure; whoever listens to one of them has been told.
    this.started.catch(() => {})
    this.ended.catch(() => {})
  }

  /** Bytes of output that the guest had let go of before this session asked for them. */
  get lostBytes(): number {
    return this.#stdout.lostBytes + this.#stderr.lostBytes
  }

  resize(size: PtySize): void {
    this.#size = size
    this.#send({ type: 'resize', ...size })
  }

  /** Sends a signal to the process group. */
  kill(signal: string): void {
    this.#sendLater({ type: 'signal', signal })
  }

  /** Lets go of it; with `detach` it goes on, else only if it was started detached. */
  close(how: 'close' | 'detach' = 'close'): void {
    if (how === 'detach') this.#sendLater({ type: 'detach' })
    this.#closing = true
    this.#socket?.close(closeNormal)
  }

  async #run(): Promise<ExecExit | undefined> {
    try {
      while (!(await this.#connection())) {
        if (!(await this.#retry.again(this.#signal)))
          throw localError('DAEMON_UNREACHABLE', `lost process ${this.#options.execId}: the daemon did not come back`, {
            remediation: 'Start the daemon and attach again; the guest keeps a detached process.',
          })
      }
      await this.#stdout.drained()
      await this.#stderr.drained()
      return this.#exit
    } catch (error) {
      this.#rejectStarted(error)
      this.input.fail(error)
      throw error
    } finally {
      this.input.fail(localError('ILLEGAL_STATE', 'the process has ended, nobody reads its input'))
      this.#socket?.close(closeNormal)
      this.#socket = undefined
    }
  }

  /** One connection from its opening to its end. True when there is nothing more to come. */
  async #connection(): Promise<boolean> {
    this.#signal?.throwIfAborted()
    let finish: (done: boolean) => void = () => {}
    let fail: (error: unknown) => void = () => {}
    const outcome = new Promise<boolean>((resolve, reject) => {
      finish = resolve
      fail = reject
    })
    outcome.catch(() => {})
    const onAbort = () => fail(this.#signal?.reason)
    this.#signal?.addEventListener('abort', onAbort, { once: true })
    let socket: Socket | undefined
    // Frames can come in the same breath as the handshake's answer, before `openSocket` has resolved.
    const early: SocketMessage[] = []
    const receive = (message: SocketMessage) => {
      if (socket === undefined) early.push(message)
      else this.#receive(message, finish, fail)
    }
    try {
      const request = { path: this.#path(), subprotocol, signal: this.#signal }
      socket = await openSocket(this.#transport, request, { message: receive, closed: () => finish(this.#closing) })
      this.#socket = socket
      if (!this.#hasStarted && this.#options.start !== undefined)
        this.#send({ type: 'start', exec: { ...this.#options.start, execId: this.#options.execId } })
      for (const message of early) this.#receive(message, finish, fail)
      return await outcome
    } catch (error) {
      if (this.#mayTryAgain(error)) return this.#closing
      throw error
    } finally {
      this.#signal?.removeEventListener('abort', onAbort)
      this.input.disconnected()
      this.#socket = undefined
      socket?.close(closeNormal)
    }
  }

  #mayTryAgain(error: unknown): boolean {
    if (this.#signal?.aborted || !(error instanceof RametApiError)) return false
    // Where nothing listens nothing has begun: that is the caller's to know. But a connection that broke may have
    // started the process, and its id makes starting it again harmless.
    if (error.code === 'DAEMON_UNREACHABLE') return this.#hasStarted || !neverReached(error)
    return this.#hasStarted && error.retryable
  }

  #path(): string {
    const { vm, execId, start } = this.#options
    if (!this.#hasStarted && start !== undefined) return path`/v1/vms/${vm}/exec`
    return `${path`/v1/vms/${vm}/exec/${execId}/attach`}?stdout=${this.#stdout.resumeOffset}&stderr=${this.#stderr.resumeOffset}`
  }

  #receive(message: SocketMessage, finish: (done: boolean) => void, fail: (error: unknown) => void): void {
    try {
      if (typeof message !== 'string') {
        const frame = decodeFrame(message)
        if (frame === undefined || frame.channel === 'stdin') throw localError('INTERNAL', 'not a frame of output')
        const stream = frame.channel === 'stdout' ? this.#stdout : this.#stderr
        stream.take(frame.offset, frame.data, fail)
        this.#retry.reset()
        return
      }
      const parsed = JSON.parse(message) as ServerMessage
      if (parsed.type === 'started') this.#begin(parsed)
      else if (parsed.type === 'stdin-ack') this.input.acknowledge(parsed.offset)
      else if (parsed.type === 'error') fail(new RametApiError(parsed.error))
      else if (parsed.type === 'exit') this.#sawExit(parsed, finish, fail)
    } catch (error) {
      fail(error)
    }
  }

  #begin(started: Started): void {
    const again = this.#hasStarted
    this.#hasStarted = true
    this.#retry.reset()
    this.#resolveStarted(started.exec)
    this.#stdout.connected(started.stdoutOffset, started.windowBytes)
    this.#stderr.connected(started.stderrOffset, started.windowBytes)
    if (again && this.#size !== undefined) this.#send({ type: 'resize', ...this.#size })
    for (const message of this.#unsaid.splice(0)) this.#send(message)
    if (!again && this.#options.start === undefined) this.input.beginAt(started.stdinOffset)
    this.input.connected(started.stdinOffset, started.windowBytes)
    if (this.#closing) this.#socket?.close(closeNormal)
  }

  #sawExit(
    exit: Extract<ServerMessage, { type: 'exit' }>,
    finish: (done: boolean) => void,
    fail: (error: unknown) => void,
  ): void {
    if (this.#stdout.offset < exit.stdoutOffset || this.#stderr.offset < exit.stderrOffset) {
      fail(localError('INTERNAL', 'the process ended before all of its output had come'))
      return
    }
    this.#exit = { exitCode: exit.exitCode, signal: exit.signal }
    // Acknowledge the last byte while the connection stands: the guest then forgets the process's output.
    Promise.all([this.#stdout.drained(), this.#stderr.drained()]).then(() => finish(true), fail)
  }

  #send(message: ClientMessageInput): void {
    this.#socket?.send(JSON.stringify(message))
  }

  #sendLater(message: ClientMessageInput): void {
    if (this.#socket !== undefined && this.#hasStarted) this.#send(message)
    else this.#unsaid.push(message)
  }
}
