import type { Exec, ExecStartInput, PtySize } from '../api/exec.ts'
import { newId } from '../shared/ids.ts'
import { limits } from '../shared/limits.ts'
import { Capture, CommandHandle, type CommandResult } from './command-handle.ts'
import { localError, RametApiError } from './errors.ts'
import { path, type Transport } from './transport.ts'

/** Told of output as it comes. While a returned promise is pending, the command is held back. */
export type OutputCallback<T> = (data: T) => void | Promise<void>

/** Options of {@link Commands.connect}. */
export interface CommandConnectOptions {
  /** Output as text; a character cut in two between chunks is put together. */
  onStdout?: OutputCallback<string>
  /** Error output as text. */
  onStderr?: OutputCallback<string>
  /** Output as bytes. */
  onStdoutBytes?: OutputCallback<Uint8Array>
  /** Error output as bytes. */
  onStderrBytes?: OutputCallback<Uint8Array>
  /** How much of each output the result holds at most, bytes; the callbacks see all. Default: 16 MiB. */
  captureBytes?: number
  /** Lets go of the command, which ends (SIGHUP) unless it is in the background; the call rejects with the reason. */
  signal?: AbortSignal
}

/** Options of {@link Commands.run}. */
export interface CommandRunOptions extends CommandConnectOptions {
  /** Environment, beside that of the vm. */
  env?: Record<string, string>
  /** Working directory; the home of the user when left out. */
  cwd?: string
  /** User name or number; root when left out. */
  user?: string
  /** Kill it after this time, milliseconds. Never when left out. */
  timeoutMs?: number
  /** Return once it has started; it goes on when nobody listens. */
  background?: boolean
  /** What it reads, whole; or `true`: what `sendStdin` writes, until `closeStdin`. Nothing when left out. */
  stdin?: string | Uint8Array | boolean
  /** A terminal of this size; stderr then comes with stdout. */
  pty?: PtySize
  /** Id for the process, chosen by you: running the same id again attaches to what it started. */
  execId?: string
  /** Whether a status other than 0 is thrown, as {@link CommandExitError}. Default: true. */
  throwOnFailure?: boolean
}

/** Runs commands in one vm. Got from `vm.commands`. */
export class Commands {
  readonly #transport: Transport
  readonly #vm: string

  /** @internal */
  constructor(transport: Transport, vm: string) {
    this.#transport = transport
    this.#vm = vm
  }

  /**
   * Runs a command: a string by `/bin/sh -c` in the guest, an array as program and arguments.
   *
   * @throws CommandExitError when it ends with another status than 0, unless `throwOnFailure` is false
   * @throws RametApiError `VM_NOT_FOUND`, `ILLEGAL_STATE` (it does not run), `GUEST_REFUSED` (no such program or user), `TIMEOUT`
   *
   * @example
   * ```ts
   * import { Vm } from 'ramet'
   * await using vm = await Vm.create({ image: 'micro' })
   * const { stdout } = await vm.commands.run('uname -r')
   * await vm.commands.run(['wc', '-c'], { stdin: stdout, onStdout: (text) => console.log(text) })
   * ```
   */
  run(command: string | readonly string[], options: CommandRunOptions & { background: true }): Promise<CommandHandle>
  run(command: string | readonly string[], options?: CommandRunOptions): Promise<CommandResult>
  async run(
    command: string | readonly string[],
    options: CommandRunOptions = {},
  ): Promise<CommandHandle | CommandResult> {
    const beganMs = performance.now()
    const handle = await this.start(command, options)
    if (options.background === true) return handle
    const result = await handle.wait({ throwOnFailure: false })
    const elapsedMs = performance.now() - beganMs
    if (options.timeoutMs !== undefined && result.signal === 'SIGKILL' && elapsedMs >= options.timeoutMs)
      throw localError('TIMEOUT', `the command was killed after ${options.timeoutMs} ms`, {
        remediation: 'Give it more time with `timeoutMs`, or run it in the background.',
        details: { stdout: result.stdout, stderr: result.stderr },
      })
    if (result.exitCode === 0 || options.throwOnFailure === false) return result
    return await handle.wait()
  }

  /** Starts a command and returns at once: `run` is this and {@link CommandHandle.wait}. @throws as `run` */
  async start(command: string | readonly string[], options: CommandRunOptions = {}): Promise<CommandHandle> {
    const start: ExecStartInput = {
      command: typeof command === 'string' ? command : [...command],
      environment: options.env ?? {},
      stdin: options.stdin !== undefined && options.stdin !== false,
      detached: options.background === true,
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...(options.user === undefined ? {} : { user: options.user }),
      ...(options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
      ...(options.pty === undefined ? {} : { pty: options.pty }),
    }
    const handle = await this.#open(options.execId ?? newId('exec'), options, start)
    if (typeof options.stdin === 'string' || options.stdin instanceof Uint8Array) {
      // A command that reads no more than it needs is no failure of ours.
      handle.sendStdin(options.stdin).catch(() => {})
      handle.closeStdin()
    }
    return handle
  }

  /**
   * Attaches to a command, with what the guest still keeps of its output.
   *
   * @throws RametApiError `NOT_FOUND`, `VM_NOT_FOUND`
   */
  async connect(execId: string, options: CommandConnectOptions = {}): Promise<CommandHandle> {
    return await this.#open(execId, options, undefined)
  }

  /** All processes started through Ramet in this vm, also those that its parent started. @throws RametApiError */
  async list(options: { signal?: AbortSignal } = {}): Promise<Exec[]> {
    const request = { path: path`/v1/vms/${this.#vm}/execs`, signal: options.signal }
    return (await this.#transport.json<{ items: Exec[] }>(request)).items
  }

  /** Sends a signal to a command, `SIGKILL` unless another is named. False when there is no such process. */
  async kill(execId: string, options: { killSignal?: string; signal?: AbortSignal } = {}): Promise<boolean> {
    try {
      await this.#transport.json({
        method: 'POST',
        path: path`/v1/vms/${this.#vm}/execs/${execId}/signal`,
        json: { signal: options.killSignal ?? 'SIGKILL' },
        signal: options.signal,
      })
      return true
    } catch (error) {
      if (error instanceof RametApiError && error.code === 'NOT_FOUND') return false
      throw error
    }
  }

  /** Forgets a command that has ended, and what is kept of its output. @throws RametApiError `NOT_FOUND`, `ILLEGAL_STATE` */
  async forget(execId: string, options: { signal?: AbortSignal } = {}): Promise<void> {
    const request = { path: path`/v1/vms/${this.#vm}/execs/${execId}`, signal: options.signal }
    await this.#transport.json({ method: 'DELETE', ...request })
  }

  async #open(
    execId: string,
    options: CommandConnectOptions,
    start: ExecStartInput | undefined,
  ): Promise<CommandHandle> {
    // WebSockets are loaded by whoever runs something, not by whoever only lists.
    const { ExecSession } = await import('./exec-session.ts')
    const mostBytes = options.captureBytes ?? limits.execClientCaptureBytes
    const stdout = new Capture(mostBytes)
    const stderr = new Capture(mostBytes)
    const session = new ExecSession(this.#transport, {
      vm: this.#vm,
      execId,
      start,
      signal: options.signal,
      onStdout: outputHandler(stdout, options.onStdout, options.onStdoutBytes),
      onStderr: outputHandler(stderr, options.onStderr, options.onStderrBytes),
    })
    return new CommandHandle(await session.started, session, stdout, stderr)
  }
}

function outputHandler(
  capture: Capture,
  onText: OutputCallback<string> | undefined,
  onBytes: OutputCallback<Uint8Array> | undefined,
): (data: Uint8Array) => Promise<void> {
  const decoder = new TextDecoder()
  return async (data) => {
    capture.add(data)
    await onBytes?.(data)
    const text = onText === undefined ? '' : decoder.decode(data, { stream: true })
    if (text !== '') await onText?.(text)
  }
}
