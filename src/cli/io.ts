import type { Readable, Writable } from 'node:stream'

/** What a command writes to and reads from; tests have their own. */
export interface Io {
  readonly stdin: Readable & { isTTY?: boolean; setRawMode?: (on: boolean) => unknown }
  readonly stdout: Writable & { isTTY?: boolean; columns?: number; rows?: number }
  readonly stderr: Writable & { isTTY?: boolean; columns?: number }
  readonly env: NodeJS.ProcessEnv
}

/** Resolves when the text has been taken, so that nothing is lost when the process ends. */
export function write(stream: Writable, text: string | Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(text, (error) => (error ? reject(error) : resolve()))
  })
}

/** A whole line of output. */
export const line = (io: Io, text: string): Promise<void> => write(io.stdout, `${text}\n`)
/** A whole line for people, beside the output. */
export const note = (io: Io, text: string): Promise<void> => write(io.stderr, `${text}\n`)
