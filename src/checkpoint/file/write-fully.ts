import type { FileHandle } from 'node:fs/promises'

/** Writes all of it: a call may write less, on a disk that fills up for example. */
export async function writeFully(handle: FileHandle, bytes: Uint8Array, offsetBytes: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    done += (await handle.write(bytes, done, bytes.length - done, offsetBytes + done)).bytesWritten
  }
}
