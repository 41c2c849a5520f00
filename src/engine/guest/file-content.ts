import type { FileContent } from '../../agent/file-transfer.ts'
import { RametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'

export interface MeasuredContent {
  /** bytes that `body` gives */
  lengthBytes: number
  body: AsyncIterable<Uint8Array>
}

/**
 * Says how long what is read will be before it is passed on, since an HTTP answer begins with that. The stated size
 * does not decide it for what fits into a buffer: it is 0 in /proc, a whole page in /sys, and old by now for a log.
 *
 * @param offset where in the file the content begins, bytes
 * @param lengthBytes most bytes wanted; to the end when undefined
 * @throws RametError `TOO_LARGE` for a file that states no size and does not end within the buffer
 */
export async function measure(
  content: FileContent,
  path: string,
  range: { offset: number; lengthBytes?: number | undefined },
): Promise<MeasuredContent> {
  const leftBytes = Math.max(0, content.sizeBytes - range.offset)
  const statedBytes = Math.min(leftBytes, range.lengthBytes ?? leftBytes)
  if (statedBytes > limits.fileBufferBytes) return { lengthBytes: statedBytes, body: upTo(content, statedBytes) }
  const pieces: Uint8Array[] = []
  let lengthBytes = 0
  for await (const piece of content) {
    pieces.push(piece)
    lengthBytes += piece.length
    if (lengthBytes <= limits.fileBufferBytes) continue
    if (content.sizeBytes === 0)
      throw new RametError('TOO_LARGE', {
        message: `${path} does not say how large it is, and is larger than ${limits.fileBufferBytes} bytes`,
        remediation: 'Read a part of it with an offset and a length, or copy it inside the guest first.',
      })
    // It has grown by much since it was opened: what it was then is a whole answer.
    return { lengthBytes: statedBytes, body: upTo(pieces, statedBytes) }
  }
  return { lengthBytes, body: upTo(pieces, lengthBytes) }
}

/** A file that grows while it is read gives no more than was announced. */
async function* upTo(
  pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  lengthBytes: number,
): AsyncGenerator<Uint8Array, void, void> {
  let leftBytes = lengthBytes
  if (leftBytes === 0) return
  for await (const piece of pieces) {
    yield piece.subarray(0, leftBytes)
    leftBytes -= Math.min(leftBytes, piece.length)
    if (leftBytes === 0) return
  }
}
