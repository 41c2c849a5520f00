import { join } from 'node:path'
import { openChain } from '../../disk/chain.ts'
import { cloneDisk } from '../../disk/clone.ts'
import { finishFile, syncDirectory, withPlainFile } from '../../disk/files.ts'
import { privateDiskBytes } from '../../disk/usage.ts'
import { collapseStopped } from '../../fork/collapse.ts'
import { diskFile } from '../../fork/disk-file.ts'
import { assert } from '../../shared/assert.ts'
import { RametError } from '../../shared/errors.ts'
import { faultPoint } from '../../shared/fault.ts'
import type { EngineContext } from '../context.ts'
import type { ChildDisk } from '../fork/live-disks.ts'
import type { OperationHandle } from '../operations.ts'
import type { VmRecord } from '../records.ts'
import { diskPlans } from '../vm/vm-plan.ts'
import { snapshotFileMode } from './snapshot-files.ts'

/**
 * Copies the disks of a vm, which stand still, into the directory of a snapshot: each is one delta over its base there,
 * and durable.
 *
 * @returns what they take, bytes
 * @throws RametError `NO_SPACE`, `IMAGE_INVALID`; the signal's reason. What was copied so far is the caller's to remove.
 */
export async function copyDisks(
  context: EngineContext,
  vm: VmRecord,
  disks: readonly ChildDisk[],
  to: { dir: string; handle: Pick<OperationHandle, 'progress' | 'signal'> },
): Promise<number> {
  let bytes = 0
  for (const index of disks.keys()) bytes += await copyDisk(context, vm, disks, { ...to, index })
  await syncDirectory(to.dir)
  return bytes
}

async function copyDisk(
  context: EngineContext,
  vm: VmRecord,
  disks: readonly ChildDisk[],
  to: { dir: string; index: number; handle: Pick<OperationHandle, 'progress' | 'signal'> },
): Promise<number> {
  const { index, dir, handle } = to
  const { signal } = handle
  const disk = disks[index]
  assert(disk?.seed.kind === 'copy', 'the disks of a snapshot are copied, never lent')
  const { from, over, reflink } = disk.seed
  const path = join(dir, diskFile(index))
  const message = `copying disk ${index + 1} of ${disks.length}`
  await cloneDisk({
    ...{ from, to: path, over, reflink, signal },
    onProgress: (doneBytes, totalBytes) => handle.progress({ stage: 'disks', doneBytes, totalBytes, message }),
  })
  const basePath = diskPlans(context.paths, vm.disks)[index]?.basePath
  await checkBelow(context, path, over ?? basePath)
  if (over !== undefined) {
    handle.progress({ stage: 'disks', message: `collapsing disk ${index + 1} of ${disks.length}` })
    await collapseStopped(dir, { index, basePath, overPath: over, signal })
  }
  await withPlainFile(path, 'read', (file) => finishFile(file, { mode: snapshotFileMode }))
  faultPoint('snapshot.disk')
  return privateDiskBytes(path)
}

/** The original was written by the guest's QEMU: the copy is taken for a disk only when it stands on what it shall. */
async function checkBelow({ paths }: EngineContext, path: string, expected: string | undefined): Promise<void> {
  const chain = await openChain(path, [paths.imagesDir, paths.templatesDir, paths.deltasDir])
  const below = chain.layers[1]?.path
  if (below === expected) return
  throw new RametError('IMAGE_INVALID', {
    message: `${path} stands on ${below ?? 'nothing'} instead of ${expected ?? 'nothing'}`,
    details: { path },
  })
}
