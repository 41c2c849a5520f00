import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { toProblem } from '../../../api/problem.ts'
import { diskFile } from '../../../fork/disk-file.ts'
import { assert } from '../../../shared/assert.ts'
import { asRametError, RametError } from '../../../shared/errors.ts'
import { rametVersion } from '../../../shared/version.ts'
import type { EngineContext } from '../../context.ts'
import type { SnapshotExport } from '../../contract.ts'
import type { ForkParts } from '../../fork/fork-parts.ts'
import type { SnapshotRecord } from '../../records.ts'
import { workingSetFile } from '../snapshot-files.ts'
import {
  type ArchiveDigests,
  archivedVm,
  digestsFile,
  encodeDigests,
  encodeManifest,
  manifestFile,
} from './archive-manifest.ts'
import { type ExportedFile, openExported } from './exported-files.ts'
import { describeDiskBase, describeMemoryBase } from './foundations.ts'
import { encodeTarHeader, endBytes, entryBytes, paddingOf } from './tar.ts'

/**
 * Exports a snapshot as one stream: what it is, its files, and last their digests. All is checked while it is read; a
 * stream that breaks off has no digests, and the record says what was damaged.
 *
 * @throws RametError `ILLEGAL_STATE`, `BASE_DAMAGED`, `CHECKPOINT_DAMAGED`; the body too
 */
export async function exportSnapshot(parts: ForkParts, snapshot: SnapshotRecord): Promise<SnapshotExport> {
  if (snapshot.state !== 'ready')
    throw new RametError('ILLEGAL_STATE', { message: `snapshot ${snapshot.name} is ${snapshot.state}` })
  const hold = parts.uses.hold(snapshot.id)
  const files: ExportedFile[] = []
  const letGo = async () => {
    hold[Symbol.dispose]()
    for (const file of files.splice(0)) await file.close()
  }
  try {
    await openExported(parts, snapshot, files)
    const manifest = await manifestOf(parts, snapshot, files)
    const digests = encodeDigests(
      Object.fromEntries([manifestFile, ...names(files)].map((name) => [name, '0'.repeat(64)])),
    )
    const sizes = [manifest.length, ...files.map(({ sizeBytes }) => sizeBytes), digests.length]
    const sizeBytes = sizes.reduce((sum, bytes) => sum + entryBytes(bytes), endBytes)
    const body = Readable.from(noting(parts.context, snapshot, archive(manifest, [...files])), { objectMode: false })
    body.once('close', () => void letGo())
    return { sizeBytes, body }
  } catch (error) {
    await letGo()
    throw error
  }
}

const names = (files: readonly ExportedFile[]) => files.map(({ name }) => name)

async function manifestOf(parts: ForkParts, snapshot: SnapshotRecord, files: readonly ExportedFile[]): Promise<Buffer> {
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

/** Whoever reads a stream sees only that it breaks: why is said where everybody can ask. */
async function* noting(
  context: EngineContext,
  snapshot: SnapshotRecord,
  body: AsyncGenerator<Buffer>,
): AsyncGenerator<Buffer> {
  const { id, name } = snapshot
  try {
    yield* body
    if (snapshot.failure !== undefined) await context.snapshots.update(id, { failure: undefined })
  } catch (thrown) {
    const error = asRametError(thrown)
    context.log.error({ snapshot: name, error: error.message }, 'a snapshot was not exported')
    if (error.code === 'CHECKPOINT_DAMAGED') await context.snapshots.update(id, { failure: toProblem(error) })
    throw error
  }
}

async function* archive(manifest: Buffer, files: readonly ExportedFile[]): AsyncGenerator<Buffer> {
  const digests: ArchiveDigests = { [manifestFile]: createHash('sha256').update(manifest).digest('hex') }
  yield* small(manifestFile, manifest)
  for (const { name, sizeBytes, read } of files) {
    yield encodeTarHeader({ name, sizeBytes })
    const hash = createHash('sha256')
    for await (const chunk of read()) {
      hash.update(chunk)
      yield chunk
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
