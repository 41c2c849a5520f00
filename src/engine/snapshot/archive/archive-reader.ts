import { createHash } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'
import { RametError } from '../../../shared/errors.ts'
import { formatBytes } from '../../../shared/limits.ts'
import { blockBytes, decodeTarHeader, endBytes, paddingOf, type TarEntry } from './tar.ts'

/** The error of an archive that is not what was exported. */
export function badArchive(why: string, cause?: unknown): RametError {
  return new RametError('CHECKPOINT_DAMAGED', {
    message: `this is not a whole snapshot as it was exported: ${why}`,
    cause,
    remediation: 'Export it again, or take another copy; nothing of it was kept.',
  })
}

/** Reads an archive from its beginning to its end. Nothing in it is believed longer than it can be. */
export class ArchiveReader {
  readonly #chunks: AsyncIterator<Uint8Array>
  #held: Buffer = Buffer.alloc(0)

  constructor(body: AsyncIterable<Uint8Array>) {
    this.#chunks = body[Symbol.asyncIterator]()
  }

  /**
   * The file that comes next.
   *
   * @param name that it must have; absent where any may come
   * @throws RametError `CHECKPOINT_DAMAGED`, `TOO_LARGE`; what the body throws
   */
  async next(name: string, maxBytes: number): Promise<TarEntry> {
    const entry = decodeTarHeader(await this.#take(blockBytes, name))
    if (entry?.name !== name) throw badArchive(`${name} is not where it belongs`)
    if (entry.sizeBytes <= maxBytes) return entry
    throw new RametError('TOO_LARGE', {
      message: `${name} of this snapshot has ${formatBytes(entry.sizeBytes)}, more than the ${formatBytes(maxBytes)} that it can have`,
    })
  }

  /** The content of the file that `next` gave, which is small. */
  async read({ name, sizeBytes }: TarEntry): Promise<Buffer> {
    const bytes = await this.#take(sizeBytes, name)
    await this.#skipPadding(sizeBytes, name)
    return bytes
  }

  /** Writes the content of the file that `next` gave. @returns its SHA-256, in hex */
  async copyTo({ name, sizeBytes }: TarEntry, file: FileHandle): Promise<string> {
    const hash = createHash('sha256')
    for (let position = 0; position < sizeBytes; ) {
      const bytes = await this.#some(sizeBytes - position, name)
      hash.update(bytes)
      for (let done = 0; done < bytes.length; ) {
        done += (await file.write(bytes, done, bytes.length - done, position + done)).bytesWritten
      }
      position += bytes.length
    }
    await this.#skipPadding(sizeBytes, name)
    return hash.digest('hex')
  }

  /** @throws RametError `CHECKPOINT_DAMAGED` when anything comes after the last file */
  async end(): Promise<void> {
    const end = await this.#take(endBytes, 'its end')
    if (end.some((byte) => byte !== 0) || this.#held.length > 0 || !(await this.#fill()))
      throw badArchive('something comes after its end')
  }

  async #skipPadding(sizeBytes: number, name: string): Promise<void> {
    const padding = await this.#take(paddingOf(sizeBytes), name)
    if (padding.some((byte) => byte !== 0)) throw badArchive(`something lies behind ${name}`)
  }

  /** Exactly so many bytes. */
  async #take(length: number, what: string): Promise<Buffer> {
    const parts: Buffer[] = []
    for (let left = length; left > 0; ) {
      const part = await this.#some(left, what)
      parts.push(part)
      left -= part.length
    }
    return Buffer.concat(parts)
  }

  /** At least one byte, at most so many. */
  async #some(most: number, what: string): Promise<Buffer> {
    while (this.#held.length === 0) if (await this.#fill()) throw badArchive(`it ends in ${what}`)
    const part = this.#held.subarray(0, most)
    this.#held = this.#held.subarray(part.length)
    return part
  }

  /** @returns whether there is no more */
  async #fill(): Promise<boolean> {
    const { value, done } = await this.#chunks.next()
    if (done === true) return true
    this.#held = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
    return false
  }
}
