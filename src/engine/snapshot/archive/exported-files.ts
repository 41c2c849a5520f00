/** The files of a snapshot on their way out: each is checked while it is read. */
import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { FileSource, type RangeSource } from '../../../checkpoint/file/range-source.ts'
import { Checkpoint } from '../../../checkpoint/file/read.ts'
import { assert } from '../../../shared/assert.ts'
import { errnoOf, RametError } from '../../../shared/errors.ts'
import { limits } from '../../../shared/limits.ts'
import type { ForkParts } from '../../fork/fork-parts.ts'
import type { SnapshotRecord } from '../../records.ts'
import { checkpointFile } from '../../restore/restore-request.ts'
import { damagedSnapshot } from '../damaged-snapshot.ts'
import { checkpointPathOf, workingSetFile } from '../snapshot-files.ts'

export interface ExportedFile {
  readonly name: string
  readonly sizeBytes: number
  /** All of it, once. @throws RametError `CHECKPOINT_DAMAGED`, at the latest when it ends */
  read(): AsyncGenerator<Buffer>
  close(): Promise<void>
}

/**
 * Opens all files of a snapshot, so that they are of one moment: a working set may be exchanged for a newer one. What
 * can be seen without reading all is refused at once: a file that is missing or cut short, a disk whose stamp is another
 * and its content too, a checkpoint whose index or devices are damaged.
 *
 * @param files each as soon as it is open, to be closed by the caller, also after an error
 * @throws RametError `CHECKPOINT_DAMAGED` naming the file, and the remedy
 */
export async function openExported(parts: ForkParts, snapshot: SnapshotRecord, files: ExportedFile[]): Promise<void> {
  const { paths } = parts.context
  const disks = await parts.fingerprints.checkSnapshot(snapshot)
  files.push(await openMemory(checkpointPathOf(paths, snapshot.id), snapshot))
  const dir = paths.snapshot(snapshot.id)
  const workingSet = await openPlain(join(dir, workingSetFile)).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw error
  })
  if (workingSet !== undefined) files.push(await plainFile(workingSetFile, workingSet, () => {}))
  for (const [name, expected] of disks) {
    const check = (sha256: string) => {
      if (sha256 === expected) return
      const damage = { message: `${join(dir, name)} is not what was saved`, details: { path: join(dir, name) } }
      throw damagedSnapshot(snapshot.name, new RametError('CHECKPOINT_DAMAGED', damage))
    }
    files.push(await plainFile(name, await openPlain(join(dir, name)), check))
  }
}

const openPlain = (path: string) => open(path, constants.O_RDONLY | constants.O_NOFOLLOW)

async function plainFile(name: string, handle: FileHandle, check: (sha256: string) => void): Promise<ExportedFile> {
  const { size: sizeBytes } = await handle.stat()
  async function* read() {
    const hash = createHash('sha256')
    for (let position = 0; position < sizeBytes; ) {
      const chunk = Buffer.allocUnsafe(Math.min(limits.diskCopyChunkBytes, sizeBytes - position))
      const { bytesRead } = await handle.read(chunk, 0, chunk.length, position)
      if (bytesRead === 0)
        throw new RametError('CHECKPOINT_DAMAGED', { message: `${name} shrank while it was exported` })
      hash.update(chunk.subarray(0, bytesRead))
      position += bytesRead
      yield chunk.subarray(0, bytesRead)
    }
    check(hash.digest('hex'))
  }
  return { name, sizeBytes, read, close: () => handle.close() }
}

async function openMemory(path: string, { name, checkpoint: saved }: SnapshotRecord): Promise<ExportedFile> {
  assert(saved !== undefined, 'a snapshot that is ready has a checkpoint')
  let source: FileSource | undefined
  try {
    source = await FileSource.open(path)
    const checkpoint = await Checkpoint.open(source, { digest: saved.digest })
    await Promise.all([checkpoint.readDeviceState(), checkpoint.readRoms(), checkpoint.readLocality()])
    const { sizeBytes } = source
    const from = source
    const read = () => checkedMemory(checkpoint, { source: from, name, sizeBytes })
    return { name: checkpointFile, sizeBytes, read, close: () => from[Symbol.asyncDispose]() }
  } catch (error) {
    await source?.[Symbol.asyncDispose]()
    throw damagedSnapshot(name, error)
  }
}

/** Each block against its checksum. Header, index and devices lie around them, and were read when it was opened. */
async function* checkedMemory(
  checkpoint: Checkpoint,
  { source, name, sizeBytes }: { source: RangeSource; name: string; sizeBytes: number },
): AsyncGenerator<Buffer> {
  try {
    let position = 0
    for (let block = 0; block < checkpoint.pages.blockCount; block += 1) {
      const { offsetBytes, storedBytes } = checkpoint.rangeOf(block)
      yield* plainRange(source, position, offsetBytes)
      const stored = await source.readRange(offsetBytes, storedBytes)
      checkpoint.decodeBlock(block, stored)
      yield stored
      position = offsetBytes + storedBytes
    }
    yield* plainRange(source, position, sizeBytes)
  } catch (error) {
    throw damagedSnapshot(name, error)
  }
}

async function* plainRange(source: RangeSource, fromBytes: number, toBytes: number): AsyncGenerator<Buffer> {
  for (let position = fromBytes; position < toBytes; ) {
    const wanted = Math.min(limits.diskCopyChunkBytes, toBytes - position)
    const chunk = await source.readRange(position, wanted)
    if (chunk.length < wanted)
      throw new RametError('CHECKPOINT_DAMAGED', { message: `${source.name} shrank while it was exported` })
    position += chunk.length
    yield chunk
  }
}
