import type { Exec, PtySize } from '../api/exec.ts'
import { CommandExitError } from './errors.ts'
import type { ExecSession } from './exec-session.ts'
import { signalNumber } from './signals.ts'

/** How a command ended, and what it wrote. */
export interface CommandResult {
  /** Exit status; 128 + its number when a signal ended it, as shells say it. */
  exitCode: number
  /** The signal that ended it, if one did. */
  signal?: string | undefined
  /** Output, decoded as UTF-8. */
  stdout: string
  /** Error output, decoded as UTF-8. */
  stderr: string
  /** Whether output is missing above: it passed `captureBytes`, or the guest had let go of its beginning. */
  truncated: boolean
}

/** Collects what a command writes, up to a limit. */
export class Capture {
  readonly #mostBytes: number
  readonly #chunks: Uint8Array[] = []
  #bytes = 0
  truncated = false

  constructor(mostBytes: number) {
    this.#mostBytes = mostBytes
  }

  add(data: Uint8Array): void {
    const part = data.subarray(0, this.#mostBytes - this.#bytes)
    if (part.length < data.length) this.truncated = true
    if (part.length === 0) return
    this.#chunks.push(part)
    this.#bytes += part.length
  }

  get text(): string {
    return Buffer.concat(this.#chunks).toString('utf8')
  }
}

/**
 * A command that runs in a guest. It survives a restart of the daemon: what was on its way comes, once.
 *
 * @example
 * ```ts
 * import { Vm } from 'ramet'
 * await using vm = await Vm.create({ image: 'micro' })
 * const server = await vm.commands.run('httpd -f -p 8080', { background: true })
 * // ... use it ...
 * await server.kill()
 * ```
 */
export class CommandHandle {
  /** The process as it was when this handle was made. */
  readonly exec: Exec
  readonly #session: ExecSession
  readonly #stdout: Capture
  readonly #stderr: Capture

  /** @internal */
  constructor(exec: Exec, session: ExecSession, stdout: Capture, stderr: Capture) {
    this.exec = exec
    this.#session = session
    this.#stdout = stdout
    this.#stderr = stderr
  }

  /** Id of the process: with it anybody can attach to it, also after a fork. */
  get execId(): string {
    return this.exec.execId
  }

  /** Process id in the guest. */
  get pid(): number | undefined {
    return this.exec.pid
  }

  /**
   * Waits until the command has ended and all its output has been seen.
   *
   * @throws CommandExitError when it ends with another status than 0, unless `throwOnFailure` is false
   * @throws RametApiError when it is lost: its vm ended, or the daemon did not come back in a minute
   */
  async wait(options: { throwOnFailure?: boolean } = {}): Promise<CommandResult> {
    const exit = (await this.#session.ended) ?? {}
    const signal = exit.signal
    const result: CommandResult = {
      exitCode: signal === undefined ? (exit.exitCode ?? 0) : 128 + signalNumber(signal),
      ...(signal === undefined ? {} : { signal }),
      stdout: this.#stdout.text,
      stderr: this.#stderr.text,
      truncated: this.#stdout.truncated || this.#stderr.truncated || this.#session.lostBytes > 0,
    }
    if (result.exitCode !== 0 && options.throwOnFailure !== false) throw new CommandExitError(result)
    return result
  }

  /** Writes to its input; resolves when the bytes are on their way. @throws RametApiError when it has ended */
  async sendStdin(data: string | Uint8Array): Promise<void> {
    await this.#session.input.write(typeof data === 'string' ? Buffer.from(data) : data)
  }

  /** Ends its input. */
  closeStdin(): void {
    this.#session.input.end()
  }

  /** Sends a signal to its process group: `SIGKILL` unless another is named. Does not wait for the end. */
  async kill(signal = 'SIGKILL'): Promise<void> {
    this.#session.kill(signal)
  }

  /** Changes the size of its terminal, if it has one. */
  async resize(size: PtySize): Promise<void> {
    this.#session.resize(size)
  }

  /** Stops listening. A background command goes on; `commands.connect` comes back to it. */
  async disconnect(): Promise<void> {
    this.#session.close(this.exec.detached ? 'close' : 'detach')
    await this.#session.ended.catch(() => undefined)
  }
}
