import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import process from 'node:process'
import { RametError } from '../shared/errors.ts'
import type { Context } from './context.ts'

/** Runs another program of Ramet in the foreground, passes signals on, and answers its exit code. */
export function runProgram(context: Context, program: string, args: readonly string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [program, ...args], { stdio: 'inherit', env: context.io.env })
    // On a terminal the child gets Ctrl-C by itself, being in the same group: twice would be impatient.
    const release = context.onInterrupt((signal) => {
      if (signal !== 'SIGINT' || process.stdin.isTTY !== true) child.kill(signal)
    })
    child.once('error', (cause) => {
      release()
      reject(new RametError('INTERNAL', { message: `${program} cannot be run`, cause }))
    })
    child.once('exit', (code, signal) => {
      release()
      resolve(signal === null ? (code ?? 1) : 128 + (constants.signals[signal] ?? 0))
    })
  })
}
