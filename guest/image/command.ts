/** Runs the programs that a build calls: logged, cancellable, never left behind. */
import { spawn } from 'node:child_process'
import { createWriteStream } from 'node:fs'
import process from 'node:process'
import type { Writable } from 'node:stream'
import { finished } from 'node:stream/promises'
import { type ErrorCode, RametError } from '../../src/shared/errors.ts'
import { limits } from '../../src/shared/limits.ts'
import { toolPath } from './host-tools.ts'

export interface CommandOptions {
  cwd?: string
  env?: Readonly<Record<string, string>>
  /** descriptor to read standard input from; default none */
  stdinFd?: number
  /** told of every line of standard error */
  onErrorLine?: (line: string) => void
  /** exit codes that are no failure; default 0 alone */
  okCodes?: readonly number[]
  /** the code of a failure; default `IMAGE_BUILD_FAILED` */
  failureCode?: ErrorCode
}

/** Calls a program; resolves with its standard output. */
export type RunCommand = (command: string, args: readonly string[], options?: CommandOptions) => Promise<string>

/** Everything that a build's programs print, in one file, next to what they were called with. */
export interface BuildLog {
  readonly path: string
  readonly stream: Writable
}

export async function openBuildLog(path: string): Promise<BuildLog & AsyncDisposable> {
  const stream = createWriteStream(path, { flags: 'a', mode: 0o644 })
  return {
    path,
    stream,
    async [Symbol.asyncDispose]() {
      stream.end()
      await finished(stream).catch(() => undefined)
    },
  }
}

/**
 * @param log where the output goes to
 * @param signal ends the program and everything it has started
 */
export function commandRunner(log: BuildLog, signal?: AbortSignal): RunCommand {
  return (command, args, options = {}) => run(command, args, options, log, signal)
}

async function run(
  command: string,
  args: readonly string[],
  options: CommandOptions,
  log: BuildLog,
  signal: AbortSignal | undefined,
): Promise<string> {
  throwIfCancelled(signal)
  log.stream.write(`$ ${[command, ...args].join(' ')}\n`)
  // The kernel ends the program should this process be killed; a group of its own, so that its children can be ended with it.
  const child = spawn('setpriv', ['--pdeathsig', 'TERM', '--', command, ...args], {
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: { PATH: toolPath, LC_ALL: 'C.UTF-8', HOME: process.env.HOME ?? '/', ...proxyEnvironment(), ...options.env },
    stdio: [options.stdinFd ?? 'ignore', 'pipe', 'pipe'],
    detached: true,
  })
  const output = new OutputTail(log.stream, options.onErrorLine)
  child.stdout?.on('data', (chunk: Buffer) => output.onStdout(chunk))
  child.stderr?.on('data', (chunk: Buffer) => output.onStderr(chunk))
  const stop = groupStopper(child.pid)
  signal?.addEventListener('abort', stop.terminate, { once: true })
  try {
    const [code, killedBy] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
      child.once('error', reject)
      child.once('close', (...ending) => resolve(ending))
    })
    throwIfCancelled(signal)
    if (code !== null && (options.okCodes ?? [0]).includes(code)) return output.stdout()
    throw failed(command, killedBy ?? `exit code ${code}`, output.lastLines(), log.path, options.failureCode)
  } finally {
    signal?.removeEventListener('abort', stop.terminate)
    stop.cancel()
  }
}

/** Asks a process group to end; it is killed when it has not after the limit. */
function groupStopper(pid: number | undefined): { terminate: () => void; cancel: () => void } {
  let timer: NodeJS.Timeout | undefined
  const send = (name: NodeJS.Signals): void => {
    try {
      if (pid !== undefined) process.kill(-pid, name)
    } catch {
      // it has ended by itself
    }
  }
  const terminate = (): void => {
    send('SIGTERM')
    timer = setTimeout(() => send('SIGKILL'), limits.imageCommandStopMs)
  }
  return { terminate, cancel: () => clearTimeout(timer) }
}

/** @throws RametError `CANCELLED` */
export function throwIfCancelled(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new RametError('CANCELLED', { message: 'the build was cancelled', cause: signal.reason })
}

function failed(
  command: string,
  how: string,
  lastLines: string[],
  logPath: string,
  code: ErrorCode = 'IMAGE_BUILD_FAILED',
): RametError {
  const full = lastLines.some((line) => /no space left on device/i.test(line))
  const ending = lastLines.length === 0 ? '' : `: ${lastLines.slice(-limits.imageErrorMessageLines).join(' | ')}`
  return new RametError(full ? 'NO_SPACE' : code, {
    message: `${command} failed (${how})${ending}`,
    details: { command, lastLines, log: logPath },
    ...(full || code !== 'IMAGE_BUILD_FAILED' ? {} : { remediation: `Read the build log: ${logPath}` }),
  })
}

function proxyEnvironment(): Record<string, string> {
  const names = ['http_proxy', 'https_proxy', 'no_proxy', 'TMPDIR']
  return Object.fromEntries(names.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])))
}

/** Keeps what a caller needs of a program's output; the log gets all of it. */
class OutputTail {
  readonly #log: Writable
  readonly #onErrorLine: ((line: string) => void) | undefined
  #stdout: Buffer[] = []
  #stdoutBytes = 0
  #partLine = ''
  #lines: string[] = []

  constructor(log: Writable, onErrorLine: ((line: string) => void) | undefined) {
    this.#log = log
    this.#onErrorLine = onErrorLine
  }

  onStdout(chunk: Buffer): void {
    this.#stdoutBytes += chunk.length
    if (this.#stdoutBytes <= limits.imageCommandOutputBytes) this.#stdout.push(chunk)
  }

  onStderr(chunk: Buffer): void {
    this.#log.write(chunk)
    const lines = (this.#partLine + chunk.toString('utf8')).split(/[\r\n]/)
    this.#partLine = (lines.pop() ?? '').slice(-4096)
    for (const line of lines.filter((text) => text.trim() !== '')) {
      this.#onErrorLine?.(line)
      this.#lines.push(line)
    }
    this.#lines = this.#lines.slice(-limits.imageErrorLines)
  }

  stdout(): string {
    return Buffer.concat(this.#stdout).toString('utf8')
  }

  /** What it said last on standard error, or else on standard output. */
  lastLines(): string[] {
    const lines = [...this.#lines, this.#partLine].filter((line) => line.trim() !== '')
    const fallback = lines.length > 0 ? lines : this.stdout().trimEnd().split('\n').filter(Boolean)
    return fallback.slice(-limits.imageErrorLines)
  }
}
