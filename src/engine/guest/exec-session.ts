import type { ExitStatus } from '../../agent/proc.ts'
import type { AgentProcess } from '../../agent/process.ts'
import type { Exec, PtySize } from '../../api/exec.ts'
import type { OutputChannel } from '../../api/exec-socket.ts'
import { asRametError, RametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import type { ExecOutput, ExecSession } from '../contract.ts'

const channelNumber: Record<OutputChannel, 1 | 2> = { stdout: 1, stderr: 2 }
const channelName: Record<1 | 2, OutputChannel> = { 1: 'stdout', 2: 'stderr' }

/** One attachment to a guest process. Bytes and acknowledgements pass through; nothing is kept here. */
export class AgentExecSession implements ExecSession {
  readonly exec: Exec
  readonly stdinOffset: number
  readonly stdoutOffset: number
  readonly stderrOffset: number
  readonly windowBytes = limits.streamWindowBytes
  readonly output: AsyncIterable<ExecOutput>
  /** resolves when the process has ended, or nobody is attached to it here any more */
  readonly over: Promise<void>
  readonly #process: AgentProcess
  readonly #queue = new OutputMerge()
  readonly #timer: NodeJS.Timeout | undefined
  /** called when the client was lost while the process ran, and may come back */
  onLost: () => void = () => {}
  #released = false
  #exited = false

  constructor(exec: Exec, process: AgentProcess, timeoutMs: number | undefined) {
    this.exec = exec
    this.#process = process
    this.stdinOffset = process.startOffsets.stdin
    this.stdoutOffset = process.startOffsets.stdout
    this.stderrOffset = process.startOffsets.stderr
    this.output = this.#queue
    this.#timer = timeoutMs === undefined ? undefined : setTimeout(() => void this.#kill(), timeoutMs).unref()
    this.over = this.#pump()
  }

  ack(channel: OutputChannel, offset: number): void {
    this.#process.ack(channelNumber[channel], offset)
  }

  /** Called by the process's stream: input below `offset` has been taken. */
  acknowledgeStdin(offset: number): void {
    this.#queue.push({ type: 'stdin-ack', offset })
  }

  write(offset: number, data: Uint8Array): Promise<void> {
    return this.#process.writeStdin(data, offset)
  }

  async end(): Promise<void> {
    this.#process.endStdin()
  }

  async resize(size: PtySize): Promise<void> {
    if (!this.exec.pty) throw new RametError('INVALID_ARGUMENT', { message: `${this.exec.execId} has no terminal` })
    await this.#process.resize({ columns: size.cols, rows: size.rows })
  }

  async signal(name: string): Promise<void> {
    await this.#process.signal(name, { wholeGroup: true })
  }

  async release(how: 'closed' | 'lost' | 'detach'): Promise<void> {
    if (this.#released) return
    this.#released = true
    // A client that comes back finds its time limit still running.
    if (how !== 'lost') clearTimeout(this.#timer)
    if (how === 'detach') await this.#process.detach().catch(() => {})
    else if (how === 'closed' && !this.exec.detached && !this.#exited) {
      await this.#process.signal('SIGHUP', { wholeGroup: true }).catch(() => {})
    }
    this.#process.release()
    this.#queue.end()
    if (how === 'lost' && !this.exec.detached && !this.#exited) this.onLost()
  }

  async #pump(): Promise<void> {
    const offsets = { stdout: this.stdoutOffset, stderr: this.stderrOffset }
    try {
      for await (const item of this.#process.output) {
        const channel = channelName[item.channel]
        if (item.kind === 'eof') continue
        offsets[channel] = item.offset + item.bytes.length
        this.#queue.push({ type: 'data', channel, offset: item.offset, data: item.bytes })
      }
      const exit = await this.#process.exit
      this.#exited = true
      clearTimeout(this.#timer)
      this.#queue.push({ type: 'exit', ...exitView(exit), stdoutOffset: offsets.stdout, stderrOffset: offsets.stderr })
      this.#queue.end()
    } catch (error) {
      clearTimeout(this.#timer)
      if (this.#released) this.#queue.end()
      else this.#queue.fail(asRametError(error))
    }
  }

  async #kill(): Promise<void> {
    await this.#process.signal('SIGKILL', { wholeGroup: true }).catch(() => {})
  }
}

function exitView(exit: ExitStatus): { exitCode?: number; signal?: string } {
  return 'exitCode' in exit ? { exitCode: exit.exitCode } : { signal: exit.signalName }
}

/** Output and acknowledgements of input in the order in which they came. One reader; flow control bounds it. */
class OutputMerge implements AsyncIterable<ExecOutput> {
  #items: ExecOutput[] = []
  #ended = false
  #error: RametError | undefined
  #wake: (() => void) | undefined

  push(item: ExecOutput): void {
    if (this.#ended) return
    const last = this.#items.at(-1)
    // Only the newest of several acknowledgements in a row says anything.
    if (item.type === 'stdin-ack' && last?.type === 'stdin-ack') this.#items.pop()
    this.#items.push(item)
    this.#wake?.()
  }

  end(): void {
    this.#ended = true
    this.#wake?.()
  }

  fail(error: RametError): void {
    this.#error = error
    this.end()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<ExecOutput, void, void> {
    for (;;) {
      const items = this.#items
      this.#items = []
      yield* items
      if (this.#items.length > 0) continue
      if (this.#error !== undefined) throw this.#error
      if (this.#ended) return
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
      this.#wake = undefined
    }
  }
}
