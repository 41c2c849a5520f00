import { z } from 'zod'
import { Environment, GuestPath, GuestText, Time } from './primitives.ts'

export const PtySize = z
  .strictObject({
    cols: z.int().min(1).max(4096).describe('Width, characters.'),
    rows: z.int().min(1).max(4096).describe('Height, lines.'),
  })
  .meta({ id: 'PtySize', description: 'Size of a terminal.' })
export type PtySize = z.infer<typeof PtySize>

export const ExecId = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9_-]*$/, 'not an exec id')
  .max(63)
  .describe('Id of a process in the guest.')

/** `SIGTERM` and the like; the guest's agent knows the numbers. */
export const SignalName = z
  .string()
  .regex(/^SIG[A-Z0-9+-]{2,12}$/, 'not the name of a signal')
  .describe('Signal, by name.')

export const ExecStart = z
  .strictObject({
    command: z
      .union([z.array(GuestText).min(1).max(4096), GuestText.min(1)], 'neither a list of arguments nor a command line')
      .describe('Program and arguments; or one string, which `/bin/sh -c` in the guest runs.'),
    execId: ExecId.optional().describe(
      'Id chosen by the caller. If it has a process already, this attaches to that: a start can be repeated safely.',
    ),
    environment: Environment.default({}),
    cwd: GuestPath.optional().describe('Working directory; the home of the user when left out.'),
    user: GuestText.min(1).max(64).optional().describe('User name or number; root when left out.'),
    pty: PtySize.optional().describe('Give it a terminal of this size; stderr then comes with stdout.'),
    stdin: z.boolean().default(true).describe('Whether it gets an input at all; if not it reads from /dev/null.'),
    detached: z.boolean().default(false).describe('It goes on when nobody is attached.'),
    timeoutMs: z.int().min(1).optional().describe('Kill it after this time, milliseconds; never when left out.'),
  })
  .meta({
    id: 'ExecStart',
    description: 'A process to start in a guest.',
    examples: [{ command: ['uname', '-a'] }, { command: 'sleep 1; date', detached: true }],
  })
/** as the engine gets it, defaults filled in */
export type ExecStart = z.infer<typeof ExecStart>
/** as a caller writes it */
export type ExecStartInput = z.input<typeof ExecStart>

const offset = (what: string) => z.int().nonnegative().describe(`${what}, bytes since the process began.`)

/** A process in a guest. The table is kept in the guest, so that it survives a fork. */
export const Exec = z
  .object({
    execId: ExecId,
    argv: z.array(z.string()).describe('Program and arguments.'),
    state: z.enum(['running', 'exited']).describe('Whether it still runs.'),
    pid: z.int().optional().describe('Process id in the guest.'),
    exitCode: z.int().optional().describe('Exit status, once it has exited by itself.'),
    signal: SignalName.optional().describe('Signal that ended it.'),
    detached: z.boolean().describe('Whether it goes on when nobody is attached.'),
    attached: z.boolean().describe('Whether somebody is attached.'),
    pty: z.boolean().describe('Whether it has a terminal.'),
    startedAt: Time.describe('When it was started.'),
    exitedAt: Time.optional().describe('When it ended.'),
    offsets: z
      .object({
        stdin: offset('Input that the guest has accepted'),
        stdout: offset('Output written so far'),
        stderr: offset('Error output written so far'),
      })
      .describe('Where its streams are.'),
  })
  .meta({ id: 'Exec', description: 'A process in a guest.' })
export type Exec = z.infer<typeof Exec>

export const ExecList = z.object({ items: z.array(Exec).describe('Processes.') }).meta({ id: 'ExecList' })

/** What a process that was waited for answers. */
export const ExecResult = z
  .object({
    exec: Exec,
    stdout: z.string().describe('Output, as UTF-8.'),
    stderr: z.string().describe('Error output, as UTF-8.'),
    truncated: z.boolean().describe('Whether output past the limit was thrown away.'),
  })
  .meta({ id: 'ExecResult', description: 'A process that has ended, and its output.' })
export type ExecResult = z.infer<typeof ExecResult>

export const ExecSignal = z
  .strictObject({ signal: SignalName })
  .meta({ id: 'ExecSignal', description: 'A signal to send.' })
export type ExecSignal = z.infer<typeof ExecSignal>
