import { rename } from 'node:fs/promises'
import { join } from 'node:path'
import { backingName } from '../disk/backing-name.ts'
import { type FileOwner, syncDirectory } from '../disk/files.ts'
import { runImageTool } from '../disk/image-tool.ts'
import { readLayer } from '../disk/layer.ts'
import { standOn } from '../disk/stand-on.ts'
import { flushNode, runBlockJob } from '../qemu/block-job.ts'
import { nodeNames } from '../qemu/machine.ts'
import type { QemuProcess } from '../qemu/process.ts'
import { RametError } from '../shared/errors.ts'
import { nodeOfFile } from './block-nodes.ts'
import { diskFile } from './disk-file.ts'

// A child of a vm with a large delta stands on that delta, frozen, at first. Collapsing brings what it reads
// from there into its own delta, which then stands on the base alone. It can be cut short at any moment, and
// goes on with what is still missing.

export interface Collapse {
  index: number
  /** base that the disk shall stand on, absolute; absent for a disk that stands on none */
  basePath?: string | undefined
  signal?: AbortSignal | undefined
}

/**
 * Collapses a disk of a running vm, at a bounded rate, while the guest uses it.
 *
 * @throws RametError `NO_SPACE`, `VMM_FAILED`; the signal's reason when aborted. The chain is as valid as before.
 */
export async function collapseRunning(
  qemu: QemuProcess,
  collapse: Collapse & { bytesPerSecond: number },
): Promise<void> {
  const { index, basePath, signal } = collapse
  const path = join(qemu.dir, diskFile(index))
  const base = basePath === undefined ? undefined : await nodeOfFile(qemu, basePath)
  await runBlockJob(qemu, {
    id: `collapse${index}`,
    command: 'block-stream',
    arguments: {
      device: nodeNames.disk(index),
      speed: collapse.bytesPerSecond,
      'on-error': 'report',
      ...(base === undefined || basePath === undefined
        ? {}
        : { 'base-node': base, 'backing-file': backingName(path, basePath) }),
    },
    completes: 'by-itself',
    // The end of the job has the file name the base as what it stands on: what was copied must be found in it by then.
    beforeEnd: () => flushNode(qemu, nodeNames.disk(index)),
    ...(signal === undefined ? {} : { signal }),
  })
  await checkCollapsed(path, basePath)
  await flushNode(qemu, nodeNames.disk(index))
}

/**
 * Collapses a disk of a vm that does not run.
 *
 * @param overPath what it stands on, absolute: an earlier collapse that was killed may have named the base too early
 * @param level file to collapse; when it is not level 0, it takes that name afterwards
 * @throws RametError `NO_SPACE`, `IMAGE_INVALID`; the signal's reason when aborted. The chain is as valid as before.
 */
export async function collapseStopped(
  dir: string,
  collapse: Collapse & { overPath: string; level?: number; user?: FileOwner | undefined },
): Promise<void> {
  const { index, basePath, level = 0, user, signal } = collapse
  const path = join(dir, diskFile(index, level))
  await standOn(path, collapse.overPath)
  const backing = basePath === undefined ? ['-b', ''] : ['-b', backingName(path, basePath), '-F', 'qcow2']
  await runImageTool(['rebase', '-f', 'qcow2', ...backing, path], { user, signal })
  await checkCollapsed(path, basePath)
  if (level === 0) return
  await rename(path, join(dir, diskFile(index)))
  await syncDirectory(dir)
}

/** A collapse is believed by what the file says now, not by how the tool ended. */
async function checkCollapsed(path: string, basePath: string | undefined): Promise<void> {
  const { header } = await readLayer(path)
  const expected = basePath === undefined ? undefined : backingName(path, basePath)
  if (header.backing?.name === expected) return
  throw new RametError('IMAGE_INVALID', {
    message: `${path} was collapsed but stands on ${header.backing?.name ?? 'nothing'}`,
  })
}
