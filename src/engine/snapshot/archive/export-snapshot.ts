import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { diskFile } from '../../../fork/disk-file.ts'
import { assert } from '../../../shared/assert.ts'
import { errnoOf, RametError } from '../../../shared/errors.ts'
import { limits } from '../../../shared/limits.ts'
import { rametVersion } from '../../../shared/version.ts'
import type { SnapshotExport } from '../../contract.ts'
import type { ForkParts } from '../../fork/fork-parts.ts'
import type { SnapshotRecord } from '../../records.ts'
import { checkpointFile } from '../../restore/restore-request.ts'
import { workingSetFile } from '../snapshot-files.ts'
import {
  type ArchiveDigests,
  archivedVm,
  digestsFile,
  encodeDigests,
  encodeManifest,
  manifestFile,
} from './archive-manifest.ts'
import { describeDiskBase, describeMemoryBase } from './foundations.ts'
import { encodeTarHeader, endBytes, entryBytes, paddingOf } from './tar.ts'

interface OpenFile {
  name: string
  sizeBytes: number
  handle: FileHandle
}

/**
 * Exports a snapshot as one stream: what it is, its files, and last their digests.
 *
 * @throws RametError `ILLEGAL_STATE`, `BASE_DAMAGED`
 */
export async function exportSnapshot(parts: ForkParts, snapshot: SnapshotRecord): Promise<SnapshotExport> {
  if (snapshot.state !== 'ready')
    throw new RametError('ILLEGAL_STATE', { message: `snapshot ${snapshot.name} is ${snapshot.state}` })
  const hold = parts.uses.hold(snapshot.id)
  const files: OpenFile[] = []
  const letGo = async () => {
    hold[Symbol.dispose]()
    for (const { handle } of files.splice(0)) await handle.close()
  }
  try {
    await openFiles(parts, snapshot, files)
    const manifest = await manifestOf(parts, snapshot, files)
    const digests = encodeDigests(
      Object.fromEntries([manifestFile, ...names(files)].map((name) => [name, '0'.repeat(64)])),
    )
    const sizes = [manifest.length, ...files.map(({ sizeBytes }) => sizeBytes), digests.length]
    const sizeBytes = sizes.reduce((sum, bytes) => sum + entryBytes(bytes), endBytes)
    const body = Readable.from(archive(manifest, [...files]), { objectMode: false })
    body.once('close', () => void letGo())
    return { sizeBytes, body }
  } catch (error) {
    await letGo()
    throw error
  }
}

const names = (files: readonly OpenFile[]) => files.map(({ name }) => name)

/** Open from here on, so that all is of one moment: a working set may be exchanged for a newer one. */
async function openFiles({ context }: ForkParts, { id, vm }: SnapshotRecord, files: OpenFile[]): Promise<void> {
  const dir = context.paths.snapshot(id)
  for (const name of [checkpointFile, workingSetFile, ...vm.disks.keys().map((index) => diskFile(index))]) {
    try {
      const handle = await open(join(dir, name), constants.O_RDONLY | constants.O_NOFOLLOW)
      files.push({ name, sizeBytes: 0, handle })
      Object.assign(files.at(-1) ?? {}, { sizeBytes: (await handle.stat()).size })
    } catch (error) {
      if (name !== workingSetFile || errnoOf(error) !== 'ENOENT') throw error
    }
  }
}

async function manifestOf(parts: ForkParts, snapshot: SnapshotRecord, files: readonly OpenFile[]): Promise<Buffer> {
  const { vm, checkpoint, name, createdAtMs, labels, frozen, hasForkHooks, qemuVersion } = snapshot
  assert(checkpoint !== undefined, 'a snapshot that is ready has a checkpoint')
  const sizeOf = (file: string) => files.find((one) => one.name === file)?.sizeBytes ?? 0
  const base = await describeMemoryBase(parts.context, snapshot)
  const disks = await Promise.all(
    vm.disks.map(async (disk, index) => ({
      sizeBytes: disk.sizeBytes,
      ...(await describeDiskBase(parts, disk)),
      fileBytes: sizeOf(diskFile(index)),
    })),
  )
  return encodeManifest({
    ...{ rametVersion, name, createdAtMs, labels, frozen, hasForkHooks, qemuVersion },
    vm: archivedVm(vm as Required<typeof vm>),
    disks,
    checkpoint: { digest: checkpoint.digest, fileBytes: checkpoint.fileBytes, ...(base === undefined ? {} : { base }) },
    workingSetBytes: sizeOf(workingSetFile),
  })
}

async function* archive(manifest: Buffer, files: readonly OpenFile[]): AsyncGenerator<Buffer> {
  const digests: ArchiveDigests = { [manifestFile]: createHash('sha256').update(manifest).digest('hex') }
  yield* small(manifestFile, manifest)
  for (const { name, sizeBytes, handle } of files) {
    yield encodeTarHeader({ name, sizeBytes })
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
    yield Buffer.alloc(paddingOf(sizeBytes))
    digests[name] = hash.digest('hex')
  }
  yield* small(digestsFile, encodeDigests(digests))
  yield Buffer.alloc(endBytes)
}

function* small(name: string, content: Buffer): Generator<Buffer> {
  yield encodeTarHeader({ name, sizeBytes: content.length })
  yield content
  yield Buffer.alloc(paddingOf(content.length))
}
