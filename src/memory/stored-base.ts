/** A base on disk, open for reading: `store.ts` writes it, and loads it whole; `stored-base-pages.ts` reads single pages. */
import { subtle } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, lstat, open } from 'node:fs/promises'
import { errnoOf, RametError } from '../shared/errors.ts'
import { type BaseManifest, blockBytes, contentDigest, parseManifest } from './base-manifest.ts'

/** Name of the manifest of a stored base. */
export function manifestPath(path: string): string {
  return `${path}.json`
}

/** What a stored base must be: files can be exchanged, both together. */
export interface StoredBaseIdentity {
  /** by the catalogue */
  readonly id?: string
  /** of its content: `contentDigest` */
  readonly digest?: string
}

export interface StoredBase extends AsyncDisposable {
  readonly manifest: BaseManifest
  /**
   * Fills `block`, which is as long as that block.
   *
   * @param expected checksum by the manifest
   * @throws RametError `BASE_DAMAGED` when what was read does not match it
   */
  readBlock(index: number, expected: string, block: Buffer): Promise<void>
}

/** @throws RametError `NOT_FOUND`, `BASE_DAMAGED` naming the file */
export async function openStoredBase(path: string, identity: StoredBaseIdentity = {}): Promise<StoredBase> {
  const manifest = await readStoredManifest(path, identity)
  const file = await openPlain(path)
  const { size } = await file.stat()
  if (size !== manifest.sizeBytes) {
    await file.close()
    throw damaged(path, `${path} has ${size} bytes instead of ${manifest.sizeBytes}`)
  }
  return {
    manifest,
    readBlock: async (index, expected, block) => {
      const { bytesRead } = await file.read(block, 0, block.length, index * blockBytes)
      // On another thread: this one may have a guest that waits for something else.
      const digest = Buffer.from(await subtle.digest('SHA-256', block)).toString('hex')
      if (bytesRead !== block.length || digest !== expected)
        throw damaged(path, `block ${index} of ${path} does not match its checksum`)
    },
    [Symbol.asyncDispose]: () => file.close(),
  }
}

/**
 * What a stored base is, without its content.
 *
 * @throws RametError `NOT_FOUND`, `BASE_DAMAGED`
 */
export async function readStoredManifest(path: string, identity: StoredBaseIdentity = {}): Promise<BaseManifest> {
  const manifest = parseManifest(await readText(path), manifestPath(path))
  const { id, digest } = identity
  if (id !== undefined && id !== manifest.id)
    throw damaged(path, `${path} is memory base ${manifest.id} instead of ${id}`)
  if (digest !== undefined && digest !== contentDigest(manifest))
    throw damaged(path, `${path} has other content than the memory base ${manifest.id} that is meant`)
  return manifest
}

async function readText(path: string): Promise<string> {
  if (!(await exists(manifestPath(path))))
    throw new RametError('NOT_FOUND', { message: `there is no stored memory base ${path}` })
  await using file = await openPlain(manifestPath(path))
  return await file.readFile('utf8')
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path)
    return true
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false
    throw error
  }
}

/** Opens a plain file: neither what a link leads to, nor a fifo, which nobody may ever write to. */
async function openPlain(path: string): Promise<FileHandle> {
  let file: FileHandle
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') throw damaged(path, `${path} is missing`, error)
    if (errnoOf(error) === 'ELOOP') throw damaged(path, `${path} is a symbolic link`, error)
    throw error
  }
  if ((await file.stat()).isFile()) return file
  await file.close()
  throw damaged(path, `${path} is not a plain file`)
}

function damaged(file: string, message: string, cause?: unknown): RametError {
  return new RametError('BASE_DAMAGED', { message, cause, details: { file } })
}
