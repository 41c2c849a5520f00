import { existsSync } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { createDisk } from '../disk/create.ts'
import { type FileOwner, syncDirectory } from '../disk/files.ts'
import { runImageTool } from '../disk/image-tool.ts'
import { readLayer } from '../disk/layer.ts'
import { runBlockJob } from '../qemu/block-job.ts'
import { nodeNames } from '../qemu/machine.ts'
import type { QemuProcess } from '../qemu/process.ts'
import { RametError } from '../shared/errors.ts'
import { faultPoint } from '../shared/fault.ts'
import { limits } from '../shared/limits.ts'
import { stopWriting } from './block-nodes.ts'
import { diskFile } from './disk-file.ts'

// A point in time of all disks of a running vm (docs/decisions/0040, 0042):
//
//   before     guest → level n            n is 0 at rest, 1 while others read level 0
//   frozen     guest → level n+1 → n      level n stands still: children copy it, or stand on it
//   after      guest → level n            n+1 was committed into n and is gone

/** Files over its base that a disk may have for a while: its own delta, one over a frozen one, and a point. */
const levelCount = limits.diskForkCount - 1

const nodeOf = (index: number, level: number) =>
  level === 0 ? nodeNames.disk(index) : `${nodeNames.disk(index)}-${level}`

/** The level of each disk that the guest writes to, in order. @throws RametError `VMM_FAILED` */
export async function readLevels(qemu: QemuProcess, diskCount: number): Promise<number[]> {
  if (diskCount === 0) return []
  const devices = await qemu.qmp.execute<BlockDevice[]>('query-block')
  return Array.from({ length: diskCount }, (_, index) => {
    const device = devices.find(({ qdev }) => qdev?.includes(nodeNames.diskDevice(index)))
    const root = device?.inserted?.['node-name']
    for (let level = 0; level < levelCount; level += 1) if (root === nodeOf(index, level)) return level
    throw new RametError('VMM_FAILED', { message: `QEMU has no disk ${index}` })
  })
}

/**
 * Prepares an empty delta over each disk, which takes the guest's writes from the freeze on. The guest runs.
 *
 * @param levels from `readLevels`
 * @throws RametError `NO_SPACE`, `VMM_FAILED`; `mergeDisks` takes away what was prepared
 */
export async function prepareDiskPoint(qemu: QemuProcess, levels: readonly number[], owner?: FileOwner): Promise<void> {
  for (const [index, level] of levels.entries()) {
    // A merge that was cut short.
    for (let below = 0; below < level; below += 1) await stopWriting(qemu, nodeOf(index, below))
    const next = level + 1
    const name = diskFile(index, next)
    const path = join(qemu.dir, name)
    await rm(path, { force: true })
    await createDisk({ path, base: await readLayer(join(qemu.dir, diskFile(index, level))), owner })
    faultPoint('disk-point.created')
    await qemu.qmp.execute('blockdev-add', {
      driver: 'qcow2',
      'node-name': nodeOf(index, next),
      // The transaction links it; opening the backing file here would ask for a lock that the guest holds.
      backing: null,
      discard: 'unmap',
      file: { driver: 'file', filename: name, 'node-name': `${nodeOf(index, next)}-file`, discard: 'unmap' },
    })
  }
}

/** Freezes all disks at once, while the guest is stopped. All of them, or none. */
export async function freezeDisks(qemu: QemuProcess, levels: readonly number[]): Promise<void> {
  if (levels.length === 0) return
  const actions = levels.map((level, index) => ({
    type: 'blockdev-snapshot',
    data: { node: nodeOf(index, level), overlay: nodeOf(index, level + 1) },
  }))
  await qemu.qmp.execute('transaction', { actions })
}

/**
 * Brings the disks of a running vm down to a level, from whatever point of the above they are at: commits what
 * was written since into the level below, and takes prepared deltas away that were never used.
 *
 * @param floors level that each disk shall be at: 1 while others read its level 0, else 0
 * @throws RametError `VMM_FAILED`, `NO_SPACE` when QEMU could not: the vm runs on over the longer chain; the
 *   signal's reason when aborted: what was committed so far is harmless, and the vm runs on over the longer chain
 */
export async function mergeDisks(qemu: QemuProcess, floors: readonly number[], signal?: AbortSignal): Promise<void> {
  const levels = await readLevels(qemu, floors.length)
  for (const [index, floor] of floors.entries()) {
    const top = levels[index] ?? 0
    for (let level = levelCount - 1; level > floor; level -= 1) {
      if (await hasNode(qemu, nodeOf(index, level))) {
        if (level <= top) await commitBack(qemu, index, level, signal)
        await qemu.qmp.execute('blockdev-del', { 'node-name': nodeOf(index, level) })
        faultPoint('disk-point.merged')
      }
      await rm(join(qemu.dir, diskFile(index, level)), { force: true })
      await rm(join(qemu.dir, mergedFile(index, level)), { force: true })
    }
  }
}

/**
 * The same for one disk of a vm that does not run: one that was ended between freeze and merge has its newest
 * writes in the level above. Runs as the vm's user, whose files these are; a commit that was cut short is begun
 * again.
 *
 * @throws RametError `IMAGE_INVALID`, `NO_SPACE`; the signal's reason when aborted
 */
export async function mergeStopped(
  dir: string,
  index: number,
  floor: number,
  options: { user?: FileOwner | undefined; signal?: AbortSignal | undefined } = {},
): Promise<void> {
  for (let level = levelCount - 1; level > floor; level -= 1) {
    const path = join(dir, diskFile(index, level))
    await rm(join(dir, mergedFile(index, level)), { force: true })
    if (!existsSync(path)) continue
    await runImageTool(['commit', '-q', '-f', 'qcow2', path], options)
    await rm(path)
  }
}

async function commitBack(qemu: QemuProcess, index: number, level: number, signal?: AbortSignal): Promise<void> {
  await runBlockJob(qemu, {
    id: `merge${index}`,
    command: 'block-commit',
    arguments: { device: nodeOf(index, level), 'base-node': nodeOf(index, level - 1) },
    onStarted: () => faultPoint('disk-point.merging'),
    completes: 'when-told',
    beforeEnd: () => putAside(qemu.dir, index, level),
    ...(signal === undefined ? {} : { signal }),
  })
}

/** What a level is called from the moment that the one below has all of it. */
const mergedFile = (index: number, level: number) => `${diskFile(index, level)}.merged`

/**
 * The guest writes to the level below next. Should this one be found by its name later, with nobody left to say that it
 * is outdated, it would be committed over what was written since.
 */
async function putAside(dir: string, index: number, level: number): Promise<void> {
  const path = join(dir, diskFile(index, level))
  if (existsSync(path)) await rename(path, join(dir, mergedFile(index, level)))
  await syncDirectory(dir)
  faultPoint('disk-point.aside')
}

async function hasNode(qemu: QemuProcess, name: string): Promise<boolean> {
  const nodes = await qemu.qmp.execute<{ 'node-name'?: string }[]>('query-named-block-nodes', { flat: true })
  return nodes.some((node) => node['node-name'] === name)
}

interface BlockDevice {
  qdev?: string
  inserted?: { 'node-name'?: string }
}
