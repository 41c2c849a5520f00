import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { createDisk } from '../disk/create.ts'
import type { FileOwner } from '../disk/files.ts'
import { runImageTool } from '../disk/image-tool.ts'
import { readLayer } from '../disk/layer.ts'
import { nodeNames } from '../qemu/machine.ts'
import type { QemuProcess } from '../qemu/process.ts'
import { RametError } from '../shared/errors.ts'
import { faultPoint } from '../shared/fault.ts'
import { limits } from '../shared/limits.ts'
import { diskFile } from './disk-file.ts'

// A point in time of all disks of a running vm (docs/decisions/0040):
//
//   before     guest → disk0                  the vm's own delta
//   frozen     guest → next → disk0           disk0 stands still: children copy it
//   after      guest → disk0                  next was committed into disk0 and is gone

const nextFile = (index: number) => `disk${index}.next.qcow2`
const nextNode = (index: number) => `${nodeNames.disk(index)}-next`
const jobName = (index: number) => `merge${index}`

/** Prepares an empty delta for each disk, which takes the guest's writes from the freeze on. The guest runs. */
export async function prepareDiskPoint(qemu: QemuProcess, diskCount: number, owner?: FileOwner): Promise<void> {
  for (let index = 0; index < diskCount; index += 1) {
    const path = join(qemu.dir, nextFile(index))
    await rm(path, { force: true })
    await createDisk({ path, base: await readLayer(join(qemu.dir, diskFile(index))), owner })
    faultPoint('disk-point.created')
    await qemu.qmp.execute('blockdev-add', {
      driver: 'qcow2',
      'node-name': nextNode(index),
      // The transaction links it; opening the backing file here would ask for a lock that the guest holds.
      backing: null,
      discard: 'unmap',
      file: { driver: 'file', filename: nextFile(index), 'node-name': `${nextNode(index)}-file`, discard: 'unmap' },
    })
  }
}

/** Freezes all disks at once, while the guest is stopped. All of them, or none. */
export async function freezeDisks(qemu: QemuProcess, diskCount: number): Promise<void> {
  if (diskCount === 0) return
  const actions = Array.from({ length: diskCount }, (_, index) => ({
    type: 'blockdev-snapshot',
    data: { node: nodeNames.disk(index), overlay: nextNode(index) },
  }))
  await qemu.qmp.execute('transaction', { actions })
}

/** The frozen deltas, absolute. Nobody writes to them until `mergeDisks`. */
export function frozenDisks(qemu: QemuProcess, diskCount: number): string[] {
  return Array.from({ length: diskCount }, (_, index) => join(qemu.dir, diskFile(index)))
}

/**
 * Brings the disks of a running vm back to rest, from whatever point of the above they are at: commits what
 * was written since the freeze into the vm's own delta, or takes a prepared delta away that was never used.
 *
 * @throws RametError `VMM_FAILED` when QEMU could not; the vm runs on over the longer chain then
 */
export async function mergeDisks(qemu: QemuProcess, diskCount: number): Promise<void> {
  for (let index = 0; index < diskCount; index += 1) {
    if (await hasNode(qemu, nextNode(index))) {
      if (await isRoot(qemu, index)) await commitBack(qemu, index)
      await qemu.qmp.execute('blockdev-del', { 'node-name': nextNode(index) })
      faultPoint('disk-point.merged')
    }
    await rm(join(qemu.dir, nextFile(index)), { force: true })
  }
}

/**
 * The same for a vm that does not run: one that was ended between freeze and merge has its newest writes in
 * `next`. Runs as the vm's user, whose files these are; a commit that was cut short is begun again.
 *
 * @throws RametError `IMAGE_INVALID`, `NO_SPACE`
 */
export async function mergeStopped(dir: string, diskCount: number, owner?: FileOwner): Promise<void> {
  for (let index = 0; index < diskCount; index += 1) {
    const path = join(dir, nextFile(index))
    if (!existsSync(path)) continue
    await runImageTool(['commit', '-q', '-f', 'qcow2', path], { user: owner })
    await rm(path)
  }
}

interface Job {
  id: string
  status: string
}

async function commitBack(qemu: QemuProcess, index: number): Promise<void> {
  const id = jobName(index)
  const waiting = { timeoutMs: limits.diskMergeTimeoutMs }
  const over = qemu.qmp.waitEvent('JOB_STATUS_CHANGE', ({ data }) => data.id === id && data.status === 'null', waiting)
  const ready = qemu.qmp.waitEvent(
    'JOB_STATUS_CHANGE',
    ({ data }) => data.id === id && data.status === 'ready',
    waiting,
  )
  over.catch(() => {})
  ready.catch(() => {})
  const jobs = await qemu.qmp.execute<Job[]>('query-jobs')
  const known = jobs.find((job) => job.id === id)
  if (known === undefined) {
    await qemu.qmp.execute('block-commit', {
      'job-id': id,
      device: nextNode(index),
      'base-node': nodeNames.disk(index),
    })
  }
  faultPoint('disk-point.merging')
  if (known?.status !== 'ready') await Promise.race([ready, over])
  await qemu.qmp.execute('job-complete', { id })
  await over
  if (await isRoot(qemu, index))
    throw qemu.failure(`what was written to disk ${index} since its freeze could not be merged`)
}

async function hasNode(qemu: QemuProcess, name: string): Promise<boolean> {
  const nodes = await qemu.qmp.execute<{ 'node-name'?: string }[]>('query-named-block-nodes', { flat: true })
  return nodes.some((node) => node['node-name'] === name)
}

interface BlockDevice {
  qdev?: string
  inserted?: { 'node-name'?: string }
}

/** Whether the guest writes to `next`. */
async function isRoot(qemu: QemuProcess, index: number): Promise<boolean> {
  const devices = await qemu.qmp.execute<BlockDevice[]>('query-block')
  const device = devices.find(({ qdev }) => qdev?.includes(nodeNames.diskDevice(index)))
  if (device === undefined) throw new RametError('VMM_FAILED', { message: `QEMU has no disk ${index}` })
  return device.inserted?.['node-name'] === nextNode(index)
}
