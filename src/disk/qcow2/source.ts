import type { FileHandle } from 'node:fs/promises'

/** Where a codec reads from: a file, or bytes in a test. */
export interface ByteSource {
  readonly bytes: number
  /** exactly `length` bytes; what lies beyond the end reads as zero, as it does in QEMU */
  read(offset: number, length: number): Promise<Buffer>
}

export async function fileSource(handle: FileHandle): Promise<ByteSource> {
  const { size } = await handle.stat()
  return {
    bytes: size,
    read: async (offset, length) => {
      const buffer = Buffer.alloc(length)
      let done = 0
      while (done < length) {
        const { bytesRead } = await handle.read(buffer, done, length - done, offset + done)
        if (bytesRead === 0) break
        done += bytesRead
      }
      return buffer
    },
  }
}

export function bufferSource(content: Buffer): ByteSource {
  return {
    bytes: content.length,
    read: async (offset, length) => {
      const buffer = Buffer.alloc(length)
      content.copy(buffer, 0, Math.min(offset, content.length), Math.min(offset + length, content.length))
      return buffer
    },
  }
}
