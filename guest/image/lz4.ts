/**
 * The old LZ4 container that `lz4 -l` writes and Linux uses for its own image: a magic number, then blocks,
 * each with its compressed length in front. A block's size is only known by decoding it.
 */
import { RametError } from '../../src/shared/errors.ts'

export const lz4LegacyMagic = 0x184c2102
const blockMaxBytes = 8 * 1024 * 1024
const minMatchBytes = 4

/**
 * @param outputBytes exact length of the decoded data
 * @throws RametError `IMAGE_INVALID` when the data are damaged
 */
export function decodeLz4Legacy(data: Buffer, outputBytes: number): Buffer {
  if (data.length < 4 || data.readUInt32LE(0) !== lz4LegacyMagic) throw damaged('no magic number')
  const output = Buffer.alloc(outputBytes)
  let input = 4
  let written = 0
  while (input + 4 <= data.length && written < outputBytes) {
    const compressedBytes = data.readUInt32LE(input)
    input += 4
    if (compressedBytes > data.length - input) throw damaged('a block is cut off')
    const limit = Math.min(outputBytes, written + blockMaxBytes)
    written = decodeBlock(data.subarray(input, input + compressedBytes), output, written, limit)
    input += compressedBytes
  }
  if (written !== outputBytes) throw damaged(`${written} of ${outputBytes} bytes`)
  return output
}

/** One block: literals, then a match further back, again and again; the last sequence has no match. */
function decodeBlock(block: Buffer, output: Buffer, start: number, limit: number): number {
  let input = 0
  let written = start
  /** a length of 15 goes on in further bytes, until one is not 255 */
  const longLength = (nibble: number): number => {
    let length = nibble
    for (let byte = nibble === 15 ? 255 : 0; byte === 255; length += byte) {
      if (input >= block.length) throw damaged('a length is cut off')
      byte = block[input++] ?? 0
    }
    return length
  }
  while (input < block.length) {
    const token = block[input++] ?? 0
    const literals = longLength(token >> 4)
    if (literals > block.length - input || literals > limit - written) throw damaged('literals beyond the end')
    block.copy(output, written, input, input + literals)
    input += literals
    written += literals
    if (input === block.length) break
    if (input + 2 > block.length) throw damaged('an offset is cut off')
    const offset = block.readUInt16LE(input)
    input += 2
    const length = longLength(token & 15) + minMatchBytes
    if (offset === 0 || offset > written - start || length > limit - written) throw damaged('a match out of range')
    written = copyMatch(output, written, offset, length)
  }
  return written
}

/** A match may overlap what it produces: then the last `offset` bytes repeat. */
function copyMatch(output: Buffer, written: number, offset: number, length: number): number {
  const end = written + length
  let at = written
  while (at < end) {
    const from = written - offset
    const chunk = Math.min(at - from, end - at)
    output.copyWithin(at, from, from + chunk)
    at += chunk
  }
  return end
}

function damaged(what: string): RametError {
  return new RametError('IMAGE_INVALID', { message: `damaged LZ4 data: ${what}` })
}
