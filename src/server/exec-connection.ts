/** One exec WebSocket: carries bytes, offsets and acknowledgements between a client and an exec session. */
import type { RawData, WebSocket } from 'ws'
import {
  type ClientMessage,
  ClientMessage as ClientMessageSchema,
  closeCodes,
  decodeDataFrame,
  encodeDataFrame,
  type OutputChannel,
  type ServerMessage,
} from '../api/exec-socket.ts'
import { toProblem } from '../api/problem.ts'
import type { ExecOutput, ExecSession } from '../engine/contract.ts'
import { unreachable } from '../shared/assert.ts'
import { asRametError, RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import type { Log } from '../shared/log.ts'
import { parseOrRefuse } from './problems.ts'

type Start = Extract<ClientMessage, { type: 'start' }>['exec']
type Exit = Extract<ExecOutput, { type: 'exit' }>

export interface ExecConnectionOptions {
  socket: WebSocket
  log: Log
  /** Attaches to a process at once; without it the first message must be `start`. */
  attach?: () => Promise<ExecSession>
  start(request: Start): Promise<ExecSession>
}

export class ExecConnection {
  readonly #socket: WebSocket
  readonly #log: Log
  readonly #startSession: ExecConnectionOptions['start']
  /** set as soon as the session has been asked for */
  #opening: Promise<ExecSession> | undefined
  #session: ExecSession | undefined
  #release: 'closed' | 'detach' = 'closed'
  #over = false
  /** input is written in its order; signals and acknowledgements overtake it */
  #input: Promise<void> = Promise.resolve()
  #inputBytes = 0
  #exit: Exit | undefined
  readonly #acked: Record<OutputChannel, number> = { stdout: 0, stderr: 0 }
  readonly #sent: Record<OutputChannel, number> = { stdout: 0, stderr: 0 }

  constructor(options: ExecConnectionOptions) {
    this.#socket = options.socket
    this.#log = options.log
    this.#startSession = options.start
    this.#socket.on('message', (data, isBinary) => this.#guard(() => this.#receive(data, isBinary)))
    this.#socket.on('close', (code) => this.#ended(code))
    // An error is always followed by a close, which does what there is to do.
    this.#socket.on('error', (error) => this.#log.debug({ err: error }, 'exec socket failed'))
    this.#keepAlive()
    if (options.attach !== undefined) this.#open(options.attach())
  }

  #open(opening: Promise<ExecSession>): void {
    this.#opening = opening
    opening.then(
      (session) => this.#run(session),
      (error: unknown) => this.#fail(error),
    )
  }

  async #run(session: ExecSession): Promise<void> {
    this.#session = session
    if (this.#over) return
    const { exec, stdinOffset, stdoutOffset, stderrOffset, windowBytes } = session
    for (const offsets of [this.#acked, this.#sent])
      Object.assign(offsets, { stdout: stdoutOffset, stderr: stderrOffset })
    try {
      await this.#say({ type: 'started', exec, stdinOffset, stdoutOffset, stderrOffset, windowBytes })
      for await (const output of session.output) {
        if (this.#over) return
        await this.#forward(output)
      }
      if (this.#exit === undefined && !this.#over) this.#close(closeCodes.goingAway, 'attached elsewhere', 'lost')
    } catch (error) {
      this.#fail(error)
    }
  }

  async #forward(output: ExecOutput): Promise<void> {
    switch (output.type) {
      case 'data':
        this.#sent[output.channel] = output.offset + output.data.length
        return await this.#send(encodeDataFrame(output))
      case 'stdin-ack':
        return await this.#say({ type: 'stdin-ack', offset: output.offset })
      case 'exit':
        this.#exit = output
        await this.#say(output)
        return this.#closeWhenAcknowledged()
      default:
        return unreachable(output)
    }
  }

  #receive(data: RawData, isBinary: boolean): void {
    if (this.#over) return
    if (isBinary) this.#receiveInput(toBytes(data))
    else this.#receiveMessage(parseMessage(toBytes(data)))
  }

  #receiveInput(bytes: Uint8Array): void {
    const frame = decodeDataFrame(bytes)
    if (frame?.channel !== 'stdin')
      throw new RametError('INVALID_ARGUMENT', { message: 'message: a binary frame is input: channel 0, offset, data' })
    const { windowBytes } = this.#need()
    this.#inputBytes += frame.data.length
    if (this.#inputBytes > windowBytes)
      throw new RametError('INVALID_ARGUMENT', {
        message: `message: more than ${windowBytes} bytes of input that were not acknowledged`,
      })
    this.#inOrder(async (session) => {
      await session.write(frame.offset, frame.data)
      this.#inputBytes -= frame.data.length
    })
  }

  #receiveMessage(message: ClientMessage): void {
    if (message.type === 'start') {
      if (this.#opening !== undefined)
        throw new RametError('INVALID_ARGUMENT', { message: 'message: one connection has one process' })
      this.#open(this.#startSession(message.exec))
      return
    }
    const session = this.#need()
    switch (message.type) {
      case 'eof':
        this.#inOrder((to) => to.end(message.offset))
        break
      case 'resize':
        this.#do(session.resize({ cols: message.cols, rows: message.rows }))
        break
      case 'signal':
        this.#do(session.signal(message.signal))
        break
      case 'ack':
        this.#acknowledge(session, message.channel, message.offset)
        break
      case 'detach':
        this.#release = 'detach'
        break
      default:
        unreachable(message)
    }
  }

  #acknowledge(session: ExecSession, channel: OutputChannel, offset: number): void {
    if (offset > this.#sent[channel])
      throw new RametError('INVALID_ARGUMENT', {
        message: `message.offset: ${channel} has not come as far as ${offset}`,
      })
    if (offset <= this.#acked[channel]) return
    this.#acked[channel] = offset
    session.ack(channel, offset)
    this.#closeWhenAcknowledged()
  }

  #closeWhenAcknowledged(): void {
    if (this.#exit === undefined) return
    if (this.#acked.stdout >= this.#exit.stdoutOffset && this.#acked.stderr >= this.#exit.stderrOffset)
      this.#close(closeCodes.normal, 'exited', 'closed')
  }

  #inOrder(step: (session: ExecSession) => Promise<void>): void {
    const session = this.#need()
    this.#input = this.#input.then(() => (this.#over ? undefined : step(session))).catch((error) => this.#fail(error))
  }

  #do(work: Promise<void>): void {
    work.catch((error: unknown) => this.#fail(error))
  }

  #need(): ExecSession {
    if (this.#session !== undefined) return this.#session
    throw new RametError('INVALID_ARGUMENT', {
      message: this.#opening === undefined ? 'message: the first one must be start' : 'message: wait for started',
    })
  }

  #guard(step: () => void): void {
    try {
      step()
    } catch (error) {
      this.#fail(error)
    }
  }

  #fail(cause: unknown): void {
    // On a socket that is closing already, its close code decides.
    if (this.#over || this.#socket.readyState !== this.#socket.OPEN) return
    const error = asRametError(cause)
    if (error.code === 'INTERNAL') this.#log.error({ err: error }, 'exec failed')
    // Said, then closed; whether the saying succeeds no longer matters.
    this.#socket.send(JSON.stringify({ type: 'error', error: toProblem(error) } satisfies ServerMessage), () => {})
    // Only a client that breaks the rules loses its process; what is not its fault it can attach to again.
    const how = error.code === 'INVALID_ARGUMENT' ? this.#release : 'lost'
    const again = error.code === 'AGENT_LINK_LOST' || error.code === 'GUEST_UNREACHABLE'
    this.#close(again ? closeCodes.goingAway : closeCodes.error, error.code, how)
  }

  #close(code: number, reason: string, how: 'closed' | 'lost' | 'detach'): void {
    this.#letGo(how)
    this.#socket.close(code, reason)
  }

  #ended(code: number): void {
    this.#letGo(code === closeCodes.normal || this.#release === 'detach' ? this.#release : 'lost')
  }

  #letGo(how: 'closed' | 'lost' | 'detach'): void {
    if (this.#over) return
    this.#over = true
    this.#opening
      ?.then((session) => session.release(how))
      .catch((error: unknown) => this.#log.debug({ err: error }, 'nothing to let go of'))
  }

  #say(message: ServerMessage): Promise<void> {
    return this.#send(JSON.stringify(message))
  }

  /**
   * Resolves when the kernel has it: a client that does not read slows the guest down, and nothing piles
   * up here. When it cannot be sent it resolves once the socket has closed, whose code says what to do.
   */
  #send(data: string | Uint8Array): Promise<void> {
    return new Promise((resolve) => {
      this.#socket.send(data, (error) => {
        if (!error || this.#socket.readyState === this.#socket.CLOSED) resolve()
        else this.#socket.once('close', () => resolve())
      })
    })
  }

  #keepAlive(): void {
    let alive = true
    this.#socket.on('pong', () => {
      alive = true
    })
    const timer = setInterval(() => {
      if (alive) this.#socket.ping()
      else this.#socket.terminate()
      alive = false
    }, limits.execSocketPingMs)
    this.#socket.once('close', () => clearInterval(timer))
  }
}

function parseMessage(bytes: Uint8Array): ClientMessage {
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(bytes).toString('utf8'))
  } catch (error) {
    throw new RametError('INVALID_ARGUMENT', { message: 'message: a text frame is JSON', cause: error })
  }
  return parseOrRefuse(ClientMessageSchema, value, 'message')
}

function toBytes(data: RawData): Uint8Array {
  if (Array.isArray(data)) return Buffer.concat(data)
  return data instanceof ArrayBuffer ? new Uint8Array(data) : data
}
