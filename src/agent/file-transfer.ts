import { RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import { race, startDeadline, type WaitOptions } from './deadline.ts'
import { need, unanswered } from './guest-error.ts'
import type { AgentSession } from './session.ts'
import type { LinkStream } from './stream.ts'

export interface ReadFileOptions extends WaitOptions {
  /** where to begin, bytes */
  offset?: number
  /** most bytes wanted */
  limit?: number
}

export interface FileContent extends AsyncIterable<Buffer> {
  /** of the whole file when it was opened */
  readonly sizeBytes: number
  /** Stops the transfer; leaving a `for await` early does the same. */
  cancel(): void
}

/**
 * Opens a file and streams it. A piece is acknowledged when the next one is asked for, so a slow reader slows the
 * guest. After a loss of the link, go on with the `offset` reached.
 *
 * @throws RametError `GUEST_REFUSED`, or as `AgentSession.request`; the iteration throws what ended the stream
 */
export async function readFile(
  session: AgentSession,
  path: string,
  { offset = 0, limit, ...wait }: ReadFileOptions = {},
): Promise<FileContent> {
  const shape = { lasting: true, receives: [1] as const }
  const stream = await session.openStream('file.read', { path, offset, limit }, shape, wait)
  const sizeBytes = need((await stream.answer).size, 'size')
  const cancel = () => stream.reset(new RametError('CANCELLED', { message: `reading ${path} was cancelled` }))
  wait.signal?.addEventListener('abort', cancel, { once: true })
  void stream.ended.then(() => wait.signal?.removeEventListener('abort', cancel))
  return { sizeBytes, cancel, [Symbol.asyncIterator]: () => pieces(stream, cancel) }
}

async function* pieces(stream: LinkStream, cancel: () => void): AsyncGenerator<Buffer, void, void> {
  try {
    for await (const item of stream.queue) {
      if (item.kind === 'eof') {
        stream.end()
        return
      }
      yield item.bytes
      stream.ack(1, item.offset + item.bytes.length)
    }
  } finally {
    cancel()
  }
}

export interface WriteFileOptions extends WaitOptions {
  /** permission bits of a new file */
  mode?: number
  user?: string
  append?: boolean
  makeParents?: boolean
  /** refuses (`EEXIST`) when there is something already */
  exclusive?: boolean
}

const flag = { append: 1, makeParents: 2, exclusive: 4 } as const

/**
 * Writes a file from pieces as they come. Unless appended to, the file appears whole at the end or not at all:
 * after a loss of the link begin again.
 *
 * @param options `timeoutMs` is for opening the file, and again for putting it in place
 * @returns the size of the file in place
 * @throws RametError `GUEST_REFUSED`, or as `AgentSession.request`; what `pieces` throws, after giving up the file
 */
export async function writeFile(
  session: AgentSession,
  path: string,
  pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  { mode = 0o644, user, append, makeParents, exclusive, ...wait }: WriteFileOptions = {},
): Promise<{ sizeBytes: number }> {
  const flags = (append ? flag.append : 0) | (makeParents ? flag.makeParents : 0) | (exclusive ? flag.exclusive : 0)
  const shape = { lasting: true, sends: true, outcome: true }
  const stream = await session.openStream('file.write', { path, mode, user, flags }, shape, wait)
  try {
    for await (const piece of pieces) await stream.send(piece, wait.signal)
    stream.sendEof()
    const timeoutMs = wait.timeoutMs ?? limits.linkRequestTimeoutMs
    const onTimeout = () => unanswered('file.write', timeoutMs)
    using deadline = startDeadline(session.clock, { signal: wait.signal, timeoutMs }, onTimeout)
    const answer = await race(stream.outcome, deadline.signal)
    return { sizeBytes: need(answer.size, 'size') }
  } catch (error) {
    stream.reset(new RametError('CANCELLED', { message: `writing ${path} was given up`, cause: error }))
    throw error
  }
}
