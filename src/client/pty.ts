import type { CommandHandle } from './command-handle.ts'
import type { Commands, OutputCallback } from './commands.ts'

/** Options of {@link Pty.create}. */
export interface PtyCreateOptions {
  /** Width, characters. Default: 80. */
  cols?: number
  /** Height, lines. Default: 24. */
  rows?: number
  /** What the terminal shows, bytes as they come. */
  onData?: OutputCallback<Uint8Array>
  /** Program and arguments, or a line for `/bin/sh -c`. Default: a login shell. */
  command?: string | readonly string[]
  env?: Record<string, string>
  cwd?: string
  user?: string
  /** Closes the terminal; its shell gets SIGHUP. */
  signal?: AbortSignal
}

/** The best shell that the image has, as a login shell. */
export const loginShell = 'if [ -x /bin/bash ]; then exec /bin/bash -l; else exec /bin/sh -l; fi'

/** Terminals in one vm. Got from `vm.pty`. */
export class Pty {
  readonly #commands: Commands
  readonly #open = new Map<string, CommandHandle>()

  /** @internal */
  constructor(commands: Commands) {
    this.#commands = commands
  }

  /**
   * Opens a terminal. @throws RametApiError as {@link Commands.run}
   *
   * @example
   * ```ts
   * import { Vm } from 'ramet'
   * await using vm = await Vm.create({ image: 'micro' })
   * const terminal = await vm.pty.create({ cols: 80, rows: 24, onData: (data) => void process.stdout.write(data) })
   * await vm.pty.sendInput(terminal.execId, 'ls\nexit\n')
   * await terminal.wait()
   * ```
   */
  async create(options: PtyCreateOptions = {}): Promise<CommandHandle> {
    const handle = await this.#commands.start(options.command ?? loginShell, {
      pty: { cols: options.cols ?? 80, rows: options.rows ?? 24 },
      env: { TERM: 'xterm-256color', ...options.env },
      stdin: true,
      captureBytes: 0,
      ...(options.onData === undefined ? {} : { onStdoutBytes: options.onData }),
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...(options.user === undefined ? {} : { user: options.user }),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    })
    this.#open.set(handle.execId, handle)
    const forget = () => this.#open.delete(handle.execId)
    handle.wait({ throwOnFailure: false }).then(forget, forget)
    return handle
  }

  /** Types into a terminal that this object opened. */
  async sendInput(execId: string, data: string | Uint8Array): Promise<void> {
    await this.#open.get(execId)?.sendStdin(data)
  }

  /** Changes the size of a terminal that this object opened. */
  async resize(execId: string, size: { cols: number; rows: number }): Promise<void> {
    await this.#open.get(execId)?.resize(size)
  }

  /** Kills what runs in a terminal. False when there is no such process. */
  async kill(execId: string): Promise<boolean> {
    return await this.#commands.kill(execId)
  }
}
