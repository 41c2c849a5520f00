import { join } from 'node:path'
import type { SnapshotMemory } from '../../../api/snapshot.ts'
import { FileSource } from '../../../checkpoint/file/range-source.ts'
import { Checkpoint } from '../../../checkpoint/file/read.ts'
import { readWorkingSets } from '../../../checkpoint/file/working-set.ts'
import { openChain } from '../../../disk/chain.ts'
import { finishFile, withPlainFile } from '../../../disk/files.ts'
import { readAllocation, readLayer } from '../../../disk/layer.ts'
import { standOn } from '../../../disk/stand-on.ts'
import { privateDiskBytes } from '../../../disk/usage.ts'
import { diskFile } from '../../../fork/disk-file.ts'
import type { MachineDescription } from '../../../qemu/machine-description.ts'
import type { EngineContext } from '../../context.ts'
import type { OperationHandle } from '../../operations.ts'
import type { TemplateRecord } from '../../records.ts'
import { checkpointFile } from '../../restore/restore-request.ts'
import { snapshotFileMode } from '../snapshot-files.ts'
import type { ArchivedDisk, ArchiveManifest } from './archive-manifest.ts'
import { badArchive } from './archive-reader.ts'

/** What the files say, by which a record can be made. */
export interface Verified {
  machine: MachineDescription
  memory: SnapshotMemory
  diskBytes: number
  workingSetPages?: number
}

export interface Verification {
  context: EngineContext
  dir: string
  manifest: ArchiveManifest
  /** whose base its memory needs */
  template: TemplateRecord | undefined
}

/**
 * Reads all of what was received: every block of the checkpoint against its checksum, every table of the disks. Disks
 * are made to stand on what is here; no path in a file is ever followed.
 *
 * @throws RametError `CHECKPOINT_DAMAGED`, `CHECKPOINT_UNFIT`, `IMAGE_INVALID`, `BASE_DAMAGED`; the signal's reason
 */
export async function verifyArchive(
  given: Verification,
  handle: Pick<OperationHandle, 'progress' | 'signal'>,
): Promise<Verified> {
  const { dir, manifest, context } = given
  const memory = await verifyMemory(given, handle)
  const { disks } = manifest
  if (memory.machine.diskCount !== disks.length || memory.machine.nicCount !== manifest.vm.nics.length)
    throw badArchive('its machine has other disks or interfaces than its vm')
  let diskBytes = 0
  for (const [index, disk] of disks.entries()) {
    handle.signal.throwIfAborted()
    diskBytes += await verifyDisk(context, join(dir, diskFile(index)), disk)
  }
  return { ...memory, diskBytes }
}

async function verifyMemory(
  { dir, manifest, template }: Verification,
  { signal, progress }: Pick<OperationHandle, 'progress' | 'signal'>,
): Promise<Omit<Verified, 'diskBytes'>> {
  const path = join(dir, checkpointFile)
  await using source = await FileSource.open(path)
  const { digest, base } = manifest.checkpoint
  const checkpoint = await Checkpoint.open(source, { digest, signal })
  const { counts, order, machine, base: needed } = checkpoint.manifest
  if (counts.base > 0 && (needed?.id !== base?.id || needed?.digest !== base?.digest))
    throw badArchive('its checkpoint needs another base than it says')
  if (counts.base > 0 && template === undefined) throw badArchive('its checkpoint needs a base that it does not name')
  for (let block = 0; block < counts.blocks; block += 1) {
    await checkpoint.readBlock(block, signal)
    const { offsetBytes } = checkpoint.rangeOf(block)
    const message = 'checking its memory'
    progress({ stage: 'checking', doneBytes: offsetBytes, totalBytes: manifest.checkpoint.fileBytes, message })
  }
  await checkpoint.readDeviceState(signal)
  await checkpoint.readRoms(signal)
  const sets = await readWorkingSets(path, digest, counts.pages)
  const workingSetPages = sets.at(-1)?.pages.length
  return {
    machine,
    memory: {
      storedBytes: manifest.checkpoint.fileBytes,
      pages: counts.pages,
      zeroPages: counts.zero,
      basePages: counts.base,
      order: order.kind,
      orderReason: order.reason,
    },
    ...(workingSetPages === undefined ? {} : { workingSetPages }),
  }
}

/** @returns what it takes, bytes */
async function verifyDisk(context: EngineContext, path: string, disk: ArchivedDisk): Promise<number> {
  const { paths } = context
  const { header } = await readLayer(path)
  const wrong = (why: string) => badArchive(`a disk in it ${why}`)
  if (header.virtualBytes !== disk.sizeBytes) throw wrong('has another size than it says')
  if (header.snapshotCount > 0) throw wrong('has snapshots of its own')
  if ((header.backing === undefined) !== (disk.base === undefined)) throw wrong('stands on something else than it says')
  if (disk.base !== undefined) {
    const { owner, ownerId, file } = disk.base
    await withPlainFile(path, 'read', (handle) => handle.chmod(0o600))
    await standOn(path, join(owner === 'image' ? paths.image(ownerId) : paths.template(ownerId), file))
    await withPlainFile(path, 'read', (handle) => finishFile(handle, { mode: snapshotFileMode }))
  }
  await openChain(path, [paths.imagesDir, paths.templatesDir])
  await readAllocation(path)
  return privateDiskBytes(path)
}
