import { type Readable, Transform } from 'node:stream'
import { RametError } from '../shared/errors.ts'
import { formatBytes } from '../shared/limits.ts'

/**
 * A body of bytes that may not be larger than `maxBytes`, and not shorter than it said.
 *
 * @throws RametError `TOO_LARGE`, at once when the length is announced, else when it has been passed
 */
export function limitedBody(body: Readable, announced: string | undefined, maxBytes: number): Readable {
  const tooLarge = () => new RametError('TOO_LARGE', { message: `the body is larger than ${formatBytes(maxBytes)}` })
  if (announced !== undefined && Number(announced) > maxBytes) throw tooLarge()
  let seenBytes = 0
  const counted = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      seenBytes += chunk.length
      if (seenBytes > maxBytes) done(tooLarge())
      else done(null, chunk)
    },
  })
  // `pipeline` would destroy the request, and with it the connection that the answer must take.
  body.once('error', (error) => counted.destroy(cutShort(error)))
  body.once('close', () => {
    if (!body.readableEnded) counted.destroy(cutShort())
  })
  counted.once('close', () => body.unpipe(counted))
  // Whoever reads it sees the error; when nobody does any more, it must not end the daemon.
  counted.on('error', () => {})
  return body.pipe(counted)
}

function cutShort(cause?: Error): RametError {
  return new RametError('CANCELLED', { message: 'the client went away before the whole body had come', cause })
}
