import { PassThrough, Writable } from 'node:stream'
import { Ramet } from '../../client/index.ts'
import type { Harness } from '../../server/testing/harness.ts'
import { dispatch } from '../dispatch.ts'
import { Interrupts } from '../interrupts.ts'

/** A stream that remembers what was written to it. */
export class Sink extends Writable {
  text = ''
  isTTY?: boolean
  columns?: number
  rows?: number

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString('utf8')
    done()
  }
}

/** A terminal to type into. */
export class Keyboard extends PassThrough {
  isTTY?: boolean
  readonly modes: boolean[] = []

  setRawMode(on: boolean): void {
    this.modes.push(on)
  }
}

export interface CliRun {
  stdin: Keyboard
  stdout: Sink
  stderr: Sink
  interrupts: Interrupts
  code: Promise<number>
}

/** Runs a command line in this process against a test server; all of it can be seen and reached into. */
export function startCli(
  harness: Harness | undefined,
  argv: readonly string[],
  options: { env?: NodeJS.ProcessEnv; tty?: boolean; stdin?: string } = {},
): CliRun {
  const stdin = new Keyboard()
  const stdout = new Sink()
  const stderr = new Sink()
  if (options.tty) Object.assign(stdin, { isTTY: true })
  if (options.tty) for (const sink of [stdout, stderr]) Object.assign(sink, { isTTY: true, columns: 80, rows: 24 })
  if (options.stdin !== undefined) stdin.end(options.stdin)
  const interrupts = new Interrupts(() => {})
  const code = dispatch(argv, {
    io: { stdin, stdout, stderr, env: options.env ?? {} },
    interrupts,
    connect: async () => new Ramet({ socketPath: harness?.server.socketPath ?? '/nonexistent/ramet.sock' }),
  })
  return { stdin, stdout, stderr, interrupts, code }
}

export async function runCli(
  harness: Harness | undefined,
  argv: readonly string[],
  options: Parameters<typeof startCli>[2] = {},
): Promise<{ code: number; stdout: string; stderr: string }> {
  const run = startCli(harness, argv, options)
  const code = await run.code
  return { code, stdout: run.stdout.text, stderr: run.stderr.text }
}
