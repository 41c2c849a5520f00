import { RametApiError } from '../client/errors.ts'
import type { CommandHandle, Vm } from '../client/index.ts'
import { exitCodes, RametError } from '../shared/errors.ts'
import type { Context } from './context.ts'
import { formatDuration } from './format.ts'
import { type Io, note, write } from './io.ts'
import { UsageError } from './show-error.ts'

export interface AttachOptions {
  /** program and arguments, or a line for the shell of the guest */
  command: string | readonly string[]
  /** forward our input */
  interactive: boolean
  /** give it a terminal */
  tty: boolean
  env?: Record<string, string>
  cwd?: string | undefined
  user?: string | undefined
  timeoutMs?: number | undefined
}

/** Runs a command in a vm as if it ran here, and answers its exit code. */
export async function attach(context: Context, vm: Vm, options: AttachOptions): Promise<number> {
  const { io } = context
  if (options.tty && !(io.stdin.isTTY === true && io.stdout.isTTY === true))
    throw new UsageError('input or output is not a terminal, so the command cannot have one', 'Leave out -t.')
  const beganMs = performance.now()
  const handle = await vm.commands.start(options.command, {
    stdin: options.interactive,
    captureBytes: 0,
    env: { ...(options.tty ? { TERM: io.env.TERM ?? 'xterm-256color' } : {}), ...options.env },
    signal: context.signal,
    onStdoutBytes: (data) => write(io.stdout, data),
    onStderrBytes: (data) => write(io.stderr, data),
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.user === undefined ? {} : { user: options.user }),
    ...(options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
    ...(options.tty ? { pty: sizeOf(io) } : {}),
  })
  const release = [context.onInterrupt((signal) => void handle.kill(signal))]
  if (options.tty) release.push(rawTerminal(io, handle))
  if (options.interactive) release.push(forwardInput(io, handle))
  try {
    const { exitCode, signal } = await handle.wait({ throwOnFailure: false }).catch((error: unknown) => {
      throw wentToDisk(error, vm, handle) ?? error
    })
    const elapsedMs = performance.now() - beganMs
    if (options.timeoutMs === undefined || signal !== 'SIGKILL' || elapsedMs < options.timeoutMs) return exitCode
    await note(io, `ramet: the command was killed after ${formatDuration(options.timeoutMs)}`)
    return exitCodes.timeout
  } finally {
    for (const undo of release.reverse()) undo()
  }
}

/** Its vm was paused to disk, and the command with it: nothing is to be seen of it any more, but nothing is lost. */
function wentToDisk(error: unknown, { name }: Vm, { execId }: CommandHandle): RametError | undefined {
  if (!(error instanceof RametApiError) || error.code !== 'ILLEGAL_STATE' || error.details.state !== 'suspended')
    return undefined
  return new RametError('ILLEGAL_STATE', {
    message: `${name} was paused to disk, and so was the command (${execId}), which goes on when it is resumed`,
    remediation: `Resume it, \`ramet resume ${name}\`; \`ramet ps ${name}\` lists the command then, and the SDK attaches to it.`,
  })
}

/** A terminal that does not know its size says 0. */
const sizeOf = (io: Io) => ({ cols: io.stdout.columns || 80, rows: io.stdout.rows || 24 })

/** Hands every key to the guest, and the size of the window; undone by the function returned. */
function rawTerminal(io: Io, handle: CommandHandle): () => void {
  const onResize = () => void handle.resize(sizeOf(io))
  io.stdin.setRawMode?.(true)
  io.stdout.on('resize', onResize)
  return () => {
    io.stdout.off('resize', onResize)
    io.stdin.setRawMode?.(false)
  }
}

/** Sends what comes in, at the pace of the guest; its end is the end of the command's input. */
function forwardInput(io: Io, handle: CommandHandle): () => void {
  let stopped = false
  const pump = async () => {
    for await (const chunk of io.stdin) {
      if (stopped) return
      await handle.sendStdin(typeof chunk === 'string' ? chunk : new Uint8Array(chunk))
    }
    handle.closeStdin()
  }
  // The command may end without having read everything, which is its right.
  pump().catch(() => {})
  return () => {
    stopped = true
    io.stdin.pause()
  }
}
