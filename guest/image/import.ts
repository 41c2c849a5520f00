/** Makes an image of what somebody brings: the file is validated and copied, never referred to. */
import { basename, join } from 'node:path'
import { isRametError, RametError } from '../../src/shared/errors.ts'
import { limits } from '../../src/shared/limits.ts'
import { writeBootFiles } from './boot-files.ts'
import { composeCmdline } from './cmdline.ts'
import type { BuildContext } from './context.ts'
import { digestOfFile } from './digest.ts'
import { convertToQcow2 } from './ext4.ts'
import { detectFileKind, type FileKind } from './file-kind.ts'
import type { HostTool } from './host-tools.ts'
import { type ImportedRoot, importDisk } from './import-disk.ts'
import type { ImportOptions } from './import-options.ts'
import { importTar } from './import-tar.ts'
import { diskFile, type ImageManifest } from './manifest.ts'
import { inWorkshop, makeImage } from './workshop.ts'

const compressors = { '--gzip': [], '--xz': ['xz'], '--zstd': ['zstd'], '--bzip2': ['bzip2'] } as const

/**
 * @throws RametError `IMAGE_INVALID` with what is wrong with the file, `INVALID_ARGUMENT`, `NOT_FOUND`,
 *   and whatever `buildImage` throws
 */
export async function importImage(options: ImportOptions, context: BuildContext): Promise<ImageManifest> {
  const { file, rootDevice, diskBytes } = options
  checkDiskBytes(diskBytes)
  const kind = await detectFileKind(file)
  if (kind.kind === 'tar' && rootDevice !== undefined) {
    throw new RametError('INVALID_ARGUMENT', { message: 'a tar file has no partitions: leave the root device out' })
  }
  try {
    return await importKind(kind, options, context)
  } catch (error) {
    if (!isRametError(error, 'IMAGE_INVALID')) throw error
    const { remediation, details } = error
    throw new RametError('IMAGE_INVALID', { message: `${file}: ${error.message}`, cause: error, remediation, details })
  }
}

async function importKind(kind: FileKind, options: ImportOptions, context: BuildContext): Promise<ImageManifest> {
  const { file, init, rootDevice, diskBytes } = options
  return inWorkshop(context, { name: 'import', tools: toolsFor(kind), trees: kind.kind === 'tar' }, async (shop) => {
    shop.report('read', `reading ${basename(file)}`)
    const inputs = { recipe: 'import', file: await digestOfFile(file, context.signal), init, rootDevice, diskBytes }
    return makeImage(shop, inputs, { trees: kind.kind === 'tar' }, async (bench, id) => {
      const root: ImportedRoot =
        kind.kind === 'tar'
          ? await importTar(shop, bench, id, kind, options)
          : await importDisk(shop, bench, kind, options)
      await writeBootFiles(shop, bench)
      const chosenInit = init ?? (root.hasInit ? 'system' : 'agent')
      shop.report('disk', 'writing the disk')
      const { virtualBytes } = await convertToQcow2(root.rawPath, join(bench.staging, diskFile), shop.run)
      const cmdline = composeCmdline({ init: chosenInit, rootDevice: root.rootDevice })
      const disk = { virtualBytes, format: 'qcow2' } as const
      return { recipe: 'import', init: chosenInit, cmdline, disk, source: basename(file) }
    })
  })
}

function checkDiskBytes(diskBytes: number | undefined): void {
  if (diskBytes === undefined) return
  const max = limits.imageDiskMaxBytes
  if (!Number.isSafeInteger(diskBytes) || diskBytes <= 0 || diskBytes % 4096 !== 0 || diskBytes > max) {
    const message = `a disk of ${diskBytes} bytes cannot be made: a multiple of 4096 up to ${max} is needed`
    throw new RametError('INVALID_ARGUMENT', { message })
  }
}

function toolsFor(kind: FileKind): HostTool[] {
  if (kind.kind !== 'tar') return ['qemu-img', 'debugfs', 'e2fsck', 'resize2fs']
  const decompressor = kind.decompress === undefined ? [] : compressors[kind.decompress]
  return ['qemu-img', 'mke2fs', 'tar', ...decompressor]
}
