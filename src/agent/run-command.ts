import { RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import { startDeadline } from './deadline.ts'
import { type ExitStatus, forgetProcess } from './proc.ts'
import { AgentProcess, type StartOptions } from './process.ts'
import type { AgentSession } from './session.ts'

export interface CommandResult {
  readonly exit: ExitStatus
  readonly ok: boolean
  readonly stdout: Buffer
  readonly stderr: Buffer
  /** output beyond the limit was dropped */
  readonly truncated: boolean
}

export interface CommandOptions extends Omit<StartOptions, 'terminal' | 'detached' | 'onStdinAck'> {
  /** given as stdin */
  input?: Uint8Array
  /** most bytes kept of each channel, the first ones; default and most `limits.commandOutputBytes` */
  outputBytes?: number
}

/**
 * Runs a command to its end and collects its output: for probes and other short work of our own.
 *
 * @param options `timeoutMs` (default `limits.linkRequestTimeoutMs`) is for the whole run; after it, or after the
 *   signal, the command's process group is killed
 * @throws RametError `TIMEOUT`, `CANCELLED`, and as `AgentProcess.start`
 */
export async function runCommand(session: AgentSession, options: CommandOptions): Promise<CommandResult> {
  const { input, timeoutMs = limits.linkRequestTimeoutMs, signal, ...start } = options
  const outputBytes = Math.min(options.outputBytes ?? limits.commandOutputBytes, limits.commandOutputBytes)
  using deadline = startDeadline(session.clock, { signal, timeoutMs }, () => tookTooLong(options.args, timeoutMs))
  const process = await AgentProcess.start(session, { ...start, stdin: input !== undefined, signal: deadline.signal })
  const stop = () => {
    process.signal('SIGKILL', { wholeGroup: true }).catch(() => {})
    process.release()
  }
  if (deadline.signal.aborted) stop()
  else deadline.signal.addEventListener('abort', stop, { once: true })
  try {
    if (input !== undefined) {
      // A command may end without reading its input; its exit status is then the answer.
      process
        .writeStdin(input)
        .then(() => process.endStdin())
        .catch(() => {})
    }
    const result = await collect(process, outputBytes)
    forgetProcess(session, process.processId).catch(() => {})
    return result
  } catch (error) {
    throw deadline.signal.aborted ? deadline.signal.reason : error
  } finally {
    deadline.signal.removeEventListener('abort', stop)
  }
}

async function collect(process: AgentProcess, outputBytes: number): Promise<CommandResult> {
  const kept: Record<1 | 2, Buffer[]> = { 1: [], 2: [] }
  let truncated = false
  for await (const item of process.output) {
    if (item.kind === 'eof') continue
    const piece = item.bytes.subarray(0, Math.max(0, outputBytes - item.offset))
    truncated ||= piece.length < item.bytes.length
    if (piece.length > 0) kept[item.channel].push(piece)
    process.ack(item.channel, item.offset + item.bytes.length)
  }
  const exit = await process.exit
  const ok = 'exitCode' in exit && exit.exitCode === 0
  return { exit, ok, stdout: Buffer.concat(kept[1]), stderr: Buffer.concat(kept[2]), truncated }
}

function tookTooLong(args: readonly string[], timeoutMs: number): RametError {
  return new RametError('TIMEOUT', { message: `“${args.join(' ').slice(0, 200)}” took longer than ${timeoutMs} ms` })
}
