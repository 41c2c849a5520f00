import { stat, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { RametError } from '../../src/shared/errors.ts'
import { formatBytes, limits } from '../../src/shared/limits.ts'
import type { RunCommand } from './command.ts'
import type { FileKind } from './file-kind.ts'
import type { ImportOptions } from './import-options.ts'
import { initPaths } from './init-paths.ts'
import { findRootDevice, type RootDevice } from './root-device.ts'
import type { Bench, Workshop } from './workshop.ts'

export interface ImportedRoot {
  /** raw disk in the bench's work directory */
  rawPath: string
  rootDevice: string
  /** whether the root has an init of its own */
  hasInit: boolean
}

/** The parts of `qemu-img info` that decide whether a file stands for itself. */
const infoSchema = z.object({
  'virtual-size': z.number(),
  'backing-filename': z.string().optional(),
  encrypted: z.boolean().optional(),
  'format-specific': z.object({ data: z.object({ 'data-file': z.string().optional() }).optional() }).optional(),
})

/** @throws RametError `IMAGE_INVALID`, `INVALID_ARGUMENT` */
export async function importDisk(
  shop: Workshop,
  bench: Bench,
  kind: Exclude<FileKind, { kind: 'tar' }>,
  options: ImportOptions,
): Promise<ImportedRoot> {
  const rawPath = join(bench.work, 'disk.raw')
  const { run } = shop
  if (kind.kind === 'qcow2') await checkQcow2(options.file, run)
  shop.report('disk', 'copying the disk')
  const convert = ['convert', '-f', kind.kind, '-O', 'raw', options.file, rawPath]
  await run('qemu-img', convert, { failureCode: 'IMAGE_INVALID' })
  const root = await findRootDevice(rawPath, options.rootDevice)
  await checkFileSystem(rawPath, root, run)
  const hasInit = await rootHasInit(rawPath, root, run)
  if (options.diskBytes !== undefined) await grow(rawPath, root, options.diskBytes, run)
  return { rawPath, rootDevice: root.name, hasInit }
}

/** A qcow2 file may name other files of the host, which whoever opens it would read. */
async function checkQcow2(file: string, run: RunCommand): Promise<void> {
  const text = await run('qemu-img', ['info', '--output=json', '-f', 'qcow2', file], { failureCode: 'IMAGE_INVALID' })
  const info = infoSchema.parse(JSON.parse(text))
  if (info['backing-filename'] !== undefined) throw invalid('the qcow2 file needs a backing file; flatten it first')
  if (info['format-specific']?.data?.['data-file'] !== undefined)
    throw invalid('the qcow2 file keeps its data elsewhere')
  if (info.encrypted === true) throw invalid('the qcow2 file is encrypted')
  if (info['virtual-size'] > limits.imageDiskMaxBytes) {
    throw invalid(`the disk of ${formatBytes(info['virtual-size'])} is larger than Ramet takes`)
  }
  // 3 says that clusters are leaked, which wastes space in the original only.
  await run('qemu-img', ['check', '-f', 'qcow2', file], { failureCode: 'IMAGE_INVALID', okCodes: [0, 3] })
}

/** Reads the superblock and the group descriptors with their checksums, and the root directory. */
async function checkFileSystem(rawPath: string, root: RootDevice, run: RunCommand): Promise<void> {
  if (!(await debugfs(rawPath, root, 'stat /', run)).includes('Type: directory')) {
    throw invalid(`the file system on ${root.name} is damaged: its root directory cannot be read`)
  }
}

async function rootHasInit(rawPath: string, root: RootDevice, run: RunCommand): Promise<boolean> {
  for (const path of initPaths) {
    if ((await debugfs(rawPath, root, `stat /${path}`, run)).includes('Inode:')) return true
  }
  return false
}

function debugfs(rawPath: string, root: RootDevice, request: string, run: RunCommand): Promise<string> {
  const target = root.startBytes === 0 ? rawPath : `${rawPath}?offset=${root.startBytes}`
  return run('debugfs', ['-R', request, target], { failureCode: 'IMAGE_INVALID' })
}

async function grow(rawPath: string, root: RootDevice, diskBytes: number, run: RunCommand): Promise<void> {
  const { size } = await stat(rawPath)
  if (diskBytes === size) return
  if (diskBytes < size) {
    const message = `the disk has ${formatBytes(size)} and cannot be made smaller`
    throw new RametError('INVALID_ARGUMENT', { message })
  }
  if (root.startBytes !== 0) {
    const message = 'a partitioned disk cannot be made larger at import'
    throw new RametError('INVALID_ARGUMENT', { message, remediation: 'Enlarge it and its partition before.' })
  }
  await truncate(rawPath, diskBytes)
  // 1 says that it has corrected something, as the journal of a disk that was in use.
  await run('e2fsck', ['-f', '-y', rawPath], { failureCode: 'IMAGE_INVALID', okCodes: [0, 1] })
  await run('resize2fs', [rawPath], { failureCode: 'IMAGE_INVALID' })
}

function invalid(message: string): RametError {
  return new RametError('IMAGE_INVALID', { message })
}
