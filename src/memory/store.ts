/**
 * Bases on disk: a sparse raw file beside a JSON manifest with a checksum for each block. Written once,
 * under another name, made durable, then renamed; read into a new sealed base with every block checked.
 */
import { readSync } from 'node:fs'
import { type FileHandle, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { dataExtents } from '../host/extents.ts'
import type { ReadMemoryInfo } from '../host/meminfo.ts'
import { asRametError, errnoOf } from '../shared/errors.ts'
import { Revert } from '../shared/revert.ts'
import { BaseWriter, type OpenBase } from './base.ts'
import { type BaseManifest, blockBytes, blockDigest, blockLength } from './base-manifest.ts'
import type { CopyOptions } from './capture.ts'
import { manifestPath, openStoredBase } from './stored-base.ts'
import { isZeroPage, splitByZero } from './zero-pages.ts'

/**
 * Stores a sealed base as `path` and `path.json`. The manifest comes last: where it is, the file is whole.
 *
 * @throws RametError `NO_SPACE`; the signal's reason when aborted; nothing is left behind then
 */
export async function storeBase(base: OpenBase, path: string, options: CopyOptions = {}): Promise<BaseManifest> {
  const partial = `${path}.partial`
  const partialManifest = `${manifestPath(path)}.partial`
  const removePartials = async () => {
    await rm(partial, { force: true })
    await rm(partialManifest, { force: true })
  }
  await using revert = new Revert()
  revert.add('remove the partial files', removePartials)
  try {
    // Left by a crash, or an older base under the same name: no manifest may describe a file not its own.
    await removePartials()
    await rm(manifestPath(path), { force: true })
    const blocks = await writeBlocks(base, partial, options)
    const dataBytes = blocks.reduce((sum, [index]) => sum + blockLength(index, base.sizeBytes), 0)
    const manifest: BaseManifest = {
      format: 'ramet-base',
      version: 1,
      id: base.id,
      sizeBytes: base.sizeBytes,
      dataBytes,
      blocks,
    }
    await writeDurably(partialManifest, `${JSON.stringify(manifest)}\n`)
    await rename(partial, path)
    await rename(partialManifest, manifestPath(path))
    await syncDirectory(dirname(path))
    revert.keep()
    return manifest
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    throw asRametError(error)
  }
}

/** Removes a stored base, the manifest first; nothing happens when there is none. */
export async function removeStoredBase(path: string): Promise<void> {
  await rm(manifestPath(path), { force: true })
  await rm(path, { force: true })
  await syncDirectory(dirname(path))
}

export interface LoadBaseOptions extends CopyOptions {
  /** id that the base must have, by the catalogue: files can be exchanged, both together */
  id?: string
  readMemory?: ReadMemoryInfo
}

/**
 * Loads a stored base into memory and seals it. The caller closes the result (after giving it to a keeper).
 *
 * @throws RametError `NOT_FOUND`, `BASE_DAMAGED` naming the file, `NO_CAPACITY`; the signal's reason when aborted
 */
export async function loadBase(path: string, options: LoadBaseOptions = {}): Promise<OpenBase> {
  const { signal, readMemory, id } = options
  await using stored = await openStoredBase(path, id === undefined ? {} : { id })
  const { manifest } = stored
  const data = manifest.blocks.map(([index]) => ({
    offsetBytes: index * blockBytes,
    lengthBytes: blockLength(index, manifest.sizeBytes),
  }))
  using writer = await BaseWriter.create({
    id: manifest.id,
    sizeBytes: manifest.sizeBytes,
    data,
    ...(signal === undefined ? {} : { signal }),
    ...(readMemory === undefined ? {} : { readMemory }),
  })
  const buffer = Buffer.allocUnsafeSlow(blockBytes)
  let doneBytes = 0
  for (const [index, expected] of manifest.blocks) {
    signal?.throwIfAborted()
    const block = buffer.subarray(0, blockLength(index, manifest.sizeBytes))
    await stored.readBlock(index, expected, block)
    for (const { offsetBytes, lengthBytes, zero } of splitByZero(block)) {
      const at = index * blockBytes + offsetBytes
      if (zero) writer.leaveHole(at, lengthBytes)
      else writer.write(block.subarray(offsetBytes, offsetBytes + lengthBytes), at)
    }
    doneBytes += block.length
    options.onProgress?.(doneBytes, manifest.dataBytes)
  }
  return writer.seal()
}

/** Copies every block that has data; returns their checksums. */
async function writeBlocks(base: OpenBase, path: string, options: CopyOptions): Promise<BaseManifest['blocks']> {
  const indexes = blocksWithData(base)
  await using file = await open(path, 'w', 0o400)
  await file.truncate(base.sizeBytes)
  const buffer = Buffer.allocUnsafeSlow(blockBytes)
  const blocks: BaseManifest['blocks'] = []
  for (const [done, index] of indexes.entries()) {
    options.signal?.throwIfAborted()
    const block = buffer.subarray(0, blockLength(index, base.sizeBytes))
    readSync(base.fd, block, 0, block.length, index * blockBytes)
    if (!isAllZero(block)) {
      blocks.push([index, blockDigest(block)])
      for (const { offsetBytes, lengthBytes, zero } of splitByZero(block)) {
        if (!zero)
          await writeFully(
            file,
            block.subarray(offsetBytes, offsetBytes + lengthBytes),
            index * blockBytes + offsetBytes,
          )
      }
    }
    options.onProgress?.(
      Math.min((done + 1) * blockBytes, base.sizeBytes),
      Math.min(indexes.length * blockBytes, base.sizeBytes),
    )
  }
  await file.sync()
  return blocks
}

function blocksWithData(base: OpenBase): number[] {
  const indexes: number[] = []
  for (const { offsetBytes, lengthBytes } of dataExtents(base.fd, base.sizeBytes)) {
    const first = Math.max(Math.floor(offsetBytes / blockBytes), (indexes[indexes.length - 1] ?? -1) + 1)
    for (let index = first; index * blockBytes < offsetBytes + lengthBytes; index += 1) indexes.push(index)
  }
  return indexes
}

function isAllZero(block: Buffer): boolean {
  for (let at = 0; at < block.length; at += 4096) if (!isZeroPage(block, at)) return false
  return true
}

async function writeFully(file: FileHandle, bytes: Buffer, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    done += (await file.write(bytes, done, bytes.length - done, position + done)).bytesWritten
  }
}

async function writeDurably(path: string, text: string): Promise<void> {
  await using file = await open(path, 'w', 0o400)
  await file.writeFile(text)
  await file.sync()
}

async function syncDirectory(path: string): Promise<void> {
  await using directory = await open(path, 'r')
  await directory.sync()
}
