import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'

export interface ToolOptions {
  readonly signal?: AbortSignal | undefined
  /** runs as this user: for files that a guest's QEMU may have prepared */
  readonly user?: { readonly uid: number; readonly gid: number } | undefined
  /** called with 0 to 100, when the arguments ask for progress (`-p`) */
  readonly onPercent?: ((percent: number) => void) | undefined
}

/**
 * Runs `qemu-img` to its end.
 *
 * @returns its standard output
 * @throws RametError `NO_SPACE`, `HOST_UNFIT` when it is not installed, `IMAGE_INVALID` with what it said;
 *   the signal's reason when aborted, once the process is gone
 */
export async function runImageTool(args: readonly string[], options: ToolOptions = {}): Promise<string> {
  options.signal?.throwIfAborted()
  const { uid, gid } = options.user ?? {}
  const as = uid === undefined || gid === undefined ? {} : { uid, gid }
  const child = spawn('qemu-img', args, { stdio: ['ignore', 'pipe', 'pipe'], ...as })
  const kill = () => child.kill('SIGKILL')
  options.signal?.addEventListener('abort', kill, { once: true })
  let output = ''
  let complaint = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output = (output + text).slice(-limits.imageToolOutputBytes)
    const percent = /\(([\d.]+)\/100%\)[^(]*$/.exec(text)?.[1]
    if (percent !== undefined) options.onPercent?.(Number(percent))
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint = (complaint + text).slice(-limits.imageToolOutputBytes)
  })
  try {
    const [exitCode] = await once(child, 'close')
    options.signal?.throwIfAborted()
    if (exitCode === 0) return output
  } catch (cause) {
    if (options.signal?.aborted) throw options.signal.reason
    throw new RametError('HOST_UNFIT', { message: 'qemu-img cannot be started', cause })
  } finally {
    options.signal?.removeEventListener('abort', kill)
  }
  const said = complaint.trim()
  if (/no space left|disk quota/i.test(said)) throw new RametError('NO_SPACE', { message: said })
  throw new RametError('IMAGE_INVALID', { message: `qemu-img ${args[0]} failed: ${said}` })
}
