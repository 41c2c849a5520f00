/** Bytes of a checkpoint file, wherever it is. */
import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { errnoOf, RametError } from '../../shared/errors.ts'
import { damaged } from './damaged.ts'

export interface RangeSource {
  /** path or address, for messages */
  readonly name: string
  /** undefined where it is not known beforehand */
  readonly sizeBytes: number | undefined
  /** of a file of this host: other threads of this process read by it, as long as the source is open */
  readonly fd?: number
  /** @returns those bytes; fewer only where the file ends before */
  readRange(offsetBytes: number, lengthBytes: number, signal?: AbortSignal): Promise<Buffer>
}

/** A checkpoint file of this host. */
export class FileSource implements RangeSource, AsyncDisposable {
  readonly name: string
  readonly sizeBytes: number
  readonly #handle: FileHandle

  private constructor(name: string, sizeBytes: number, handle: FileHandle) {
    this.name = name
    this.sizeBytes = sizeBytes
    this.#handle = handle
  }

  /** @throws RametError `NOT_FOUND`, `CHECKPOINT_DAMAGED` for what is no plain file */
  static async open(path: string): Promise<FileSource> {
    const handle = await openPlain(path)
    try {
      const stat = await handle.stat()
      if (!stat.isFile()) throw damaged(path, 'file', 'is not a plain file')
      return new FileSource(path, stat.size, handle)
    } catch (error) {
      await handle.close()
      throw error
    }
  }

  get fd(): number {
    return this.#handle.fd
  }

  async readRange(offsetBytes: number, lengthBytes: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafeSlow(lengthBytes)
    let done = 0
    while (done < lengthBytes) {
      const { bytesRead } = await this.#handle.read(bytes, done, lengthBytes - done, offsetBytes + done)
      if (bytesRead === 0) break
      done += bytesRead
    }
    return bytes.subarray(0, done)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close()
  }
}

/** Neither what a link leads to, nor a fifo, which nobody may ever write to. */
async function openPlain(path: string): Promise<FileHandle> {
  try {
    return await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    if (errnoOf(error) === 'ELOOP') throw damaged(path, 'file', 'is a symbolic link', error)
    if (errnoOf(error) !== 'ENOENT') throw error
    throw new RametError('NOT_FOUND', { message: `there is no checkpoint file ${path}`, cause: error })
  }
}
