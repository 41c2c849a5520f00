import { execFile } from 'node:child_process'
import { limits } from '../shared/limits.ts'
import { defaultPath } from './spawn-detached.ts'

export interface CommandResult {
  /** undefined when it could not be started, or was killed */
  exitCode: number | undefined
  /** errno name when it could not be started, for example `ENOENT` */
  errno: string | undefined
  timedOut: boolean
  stdout: string
  stderr: string
}

/** Runs a short program to its end; killed outright when it takes too long. Never throws. */
export function runCommand(
  command: string,
  args: readonly string[],
  timeoutMs: number = limits.probeCommandMs,
): Promise<CommandResult> {
  const options = { timeout: timeoutMs, killSignal: 'SIGKILL' as const, env: { PATH: defaultPath }, cwd: '/' }
  return new Promise((resolve) => {
    execFile(command, [...args], options, (error, stdout, stderr) => {
      const code = error === null ? 0 : error.code
      resolve({
        exitCode: typeof code === 'number' ? code : undefined,
        errno: typeof code === 'string' ? code : undefined,
        timedOut: error?.killed === true,
        stdout,
        stderr,
      })
    })
  })
}
