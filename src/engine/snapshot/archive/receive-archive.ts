import { createHash } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { createWhole } from '../../../disk/files.ts'
import { requireSpace } from '../../../disk/space.ts'
import { diskFile } from '../../../fork/disk-file.ts'
import { limits } from '../../../shared/limits.ts'
import type { EngineContext } from '../../context.ts'
import type { Fingerprints } from '../../disk/fingerprints.ts'
import { checkpointFile } from '../../restore/restore-request.ts'
import { snapshotFileMode, workingSetFile } from '../snapshot-files.ts'
import {
  type ArchiveManifest,
  digestsFile,
  manifestFile,
  parseArchiveManifest,
  parseDigests,
} from './archive-manifest.ts'
import { ArchiveReader, badArchive } from './archive-reader.ts'
import { findFoundations } from './foundations.ts'

/**
 * Receives an archive into the directory of a snapshot that is yet to be: to its end, each file as its digest says.
 * Whether their contents are what they should be is for `verifyArchive` to find out. What is in the directory after an
 * error is the caller's to remove.
 *
 * @throws RametError `CHECKPOINT_DAMAGED`, `CHECKPOINT_UNFIT`, `IMAGE_NOT_FOUND`, `NO_SPACE`, `TOO_LARGE`; what the body throws
 */
export async function receiveArchive(
  tools: { context: EngineContext; fingerprints: Fingerprints },
  dir: string,
  body: AsyncIterable<Uint8Array>,
): Promise<ArchiveManifest> {
  const reader = new ArchiveReader(body)
  const head = await reader.read(await reader.next(manifestFile, limits.checkpointManifestBytes))
  const manifest = parseArchiveManifest(head)
  // Known by now, and all the rest would be for nothing.
  await findFoundations(tools, manifest)
  const files = filesOf(manifest)
  const totalBytes = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  await requireSpace(tools.context.paths.dataDir, totalBytes, `snapshot ${manifest.name}`)
  await mkdir(dir, { mode: 0o700 })
  const found = new Map([[manifestFile, createHash('sha256').update(head).digest('hex')]])
  for (const { name, sizeBytes } of files) {
    const entry = await reader.next(name, sizeBytes)
    if (entry.sizeBytes !== sizeBytes) throw badArchive(`${name} has another length than it says`)
    const write = createWhole(join(dir, name), { mode: snapshotFileMode }, (file) => reader.copyTo(entry, file))
    found.set(name, await write)
  }
  const digests = parseDigests(await reader.read(await reader.next(digestsFile, limits.checkpointManifestBytes)))
  await reader.end()
  if (Object.keys(digests).length !== found.size) throw badArchive(`${digestsFile} tells of other files`)
  for (const [name, digest] of found) if (digests[name] !== digest) throw badArchive(`${name} was altered`)
  return manifest
}

function filesOf({ checkpoint, workingSetBytes, disks }: ArchiveManifest): { name: string; sizeBytes: number }[] {
  return [
    { name: checkpointFile, sizeBytes: checkpoint.fileBytes },
    ...(workingSetBytes === 0 ? [] : [{ name: workingSetFile, sizeBytes: workingSetBytes }]),
    ...disks.map(({ fileBytes }, index) => ({ name: diskFile(index), sizeBytes: fileBytes })),
  ]
}
