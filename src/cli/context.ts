import type { ActionOptions, Ramet } from '../client/index.ts'
import type { Io } from './io.ts'
import { Progress } from './progress.ts'

export type OutputFormat = 'table' | 'json' | 'name'

export interface GlobalValues {
  output: OutputFormat | undefined
  quiet: boolean
  timeout: number | undefined
  url: string | undefined
  dataDir: string | undefined
}

/** What a command works with. */
export interface Context {
  readonly io: Io
  readonly format: OutputFormat
  readonly quiet: boolean
  /** `--timeout`, milliseconds, for commands in which it has a meaning of its own */
  readonly timeoutMs: number | undefined
  /** aborts on Ctrl-C, and after `--timeout` */
  readonly signal: AbortSignal
  readonly globals: GlobalValues
  /** Ctrl-C from now on is the command's, as in a terminal of a guest; undone by the function returned */
  onInterrupt(handler: (signal: 'SIGINT' | 'SIGTERM') => void): () => void
  /** the daemon, started if none runs */
  ramet(): Promise<Ramet>
  /** how to wait for what takes a while: shows progress as `what`, ends on Ctrl-C */
  action(what: string): ActionOptions
  /** the operation that was last waited for */
  readonly progress: Progress
}

export interface ContextOptions {
  io: Io
  globals: GlobalValues
  signal: AbortSignal
  onInterrupt: Context['onInterrupt']
  connect: (globals: GlobalValues, context: { io: Io; quiet: boolean; signal: AbortSignal }) => Promise<Ramet>
}

export function makeContext(options: ContextOptions): Context {
  const { io, globals, signal, onInterrupt, connect } = options
  const fromEnvironment = io.env.RAMET_OUTPUT
  const known = fromEnvironment === 'json' || fromEnvironment === 'name' ? fromEnvironment : 'table'
  const format = globals.output ?? (globals.quiet ? 'name' : known)
  const quiet = globals.quiet || format === 'name'
  const progress = new Progress(io, { silent: quiet || (format === 'json' && !io.stderr.isTTY) })
  let ramet: Promise<Ramet> | undefined
  return {
    io,
    format,
    quiet,
    timeoutMs: globals.timeout,
    signal,
    globals,
    onInterrupt,
    progress,
    ramet: () => {
      ramet ??= connect(globals, { io, quiet, signal })
      return ramet
    },
    action: (what) => ({ signal, onProgress: progress.follow(what) }),
  }
}
