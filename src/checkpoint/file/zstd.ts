/** zstd with bounds: a frame is never trusted to tell how much memory it needs. */
import { constants, type ZstdOptions, zstdCompressSync, zstdDecompressSync } from 'node:zlib'

/**
 * Compresses as much per second as level 1 but smaller; level 3 gains half a percent more (docs/decisions/0061).
 */
const level = 2

/** log2 of the window of every frame, so that no reader needs more than 2 MiB besides the output */
const windowLog = 21

const windowOf = (rawBytes: number) => Math.min(windowLog, Math.max(10, Math.ceil(Math.log2(rawBytes))))

/** @returns the frame, or undefined when it would not be shorter */
export function compress(raw: Buffer): Buffer | undefined {
  if (raw.length === 0) return undefined
  const options: ZstdOptions = {
    // one piece of output: the default of 16 KiB has it copied together
    chunkSize: raw.length + 1024,
    params: { [constants.ZSTD_c_compressionLevel]: level, [constants.ZSTD_c_windowLog]: windowOf(raw.length) },
  }
  const frame = zstdCompressSync(raw, options)
  return frame.length < raw.length ? frame : undefined
}

/** @returns what the frame holds, undefined when that is not exactly `rawBytes` or it is no frame */
export function decompress(frame: Buffer, rawBytes: number): Buffer | undefined {
  try {
    const raw = zstdDecompressSync(frame, {
      maxOutputLength: Math.max(1, rawBytes),
      chunkSize: Math.max(64, rawBytes),
      params: { [constants.ZSTD_d_windowLogMax]: windowLog },
    })
    return raw.length === rawBytes ? raw : undefined
  } catch {
    return undefined
  }
}
