import { lstat, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { RametError } from '../../src/shared/errors.ts'
import { formatBytes, limits } from '../../src/shared/limits.ts'
import { digestOfValue } from './digest.ts'
import { makeExt4, type Tree, unpackTree, uuidOf } from './ext4.ts'
import type { FileKind } from './file-kind.ts'
import type { ImportedRoot } from './import-disk.ts'
import type { ImportOptions } from './import-options.ts'
import { initPaths } from './init-paths.ts'
import { asTreeOwner } from './tree-owner.ts'
import type { Bench, Workshop } from './workshop.ts'

/** @throws RametError `IMAGE_INVALID` when tar cannot read it to its end, or it is no root file system */
export async function importTar(
  shop: Workshop,
  bench: Bench,
  id: string,
  kind: Extract<FileKind, { kind: 'tar' }>,
  options: ImportOptions,
): Promise<ImportedRoot> {
  shop.report('root', 'unpacking the archive')
  const decompress = kind.decompress === undefined ? {} : { decompress: kind.decompress }
  const tree = await unpackTree(options.file, bench.work, shop.run, { ...decompress, failureCode: 'IMAGE_INVALID' })
  await checkRoot(tree)
  const hasInit = await anyExists(tree.path, initPaths)
  const contentBytes = await usedBytes(shop, tree)
  const diskBytes = options.diskBytes ?? Math.max(limits.imageDiskDefaultBytes, roundUp(contentBytes * 2))
  if (contentBytes > diskBytes) {
    const message = `${formatBytes(contentBytes)} of files do not fit on a disk of ${formatBytes(diskBytes)}`
    throw new RametError('INVALID_ARGUMENT', { message, remediation: 'Ask for a larger disk.' })
  }
  shop.report('disk', 'making the file system')
  const rawPath = await makeExt4(tree, diskBytes, uuidOf(digestOfValue({ id })), shop.run)
  return { rawPath, rootDevice: '/dev/vda', hasInit }
}

async function checkRoot(tree: Tree): Promise<void> {
  const names = new Set(await readdir(tree.path))
  if (names.has('bin') || names.has('usr') || names.has('sbin')) return
  const isContainerImage = names.has('manifest.json') || names.has('oci-layout')
  throw new RametError('IMAGE_INVALID', {
    message: 'the archive is no root file system: it has neither bin nor usr nor sbin at its top',
    ...(isContainerImage
      ? { remediation: 'This is a container image with its layers: export a container’s file system instead.' }
      : {}),
  })
}

async function anyExists(root: string, paths: readonly string[]): Promise<boolean> {
  for (const path of paths) {
    // A link counts even when it points out of the tree, as seen from the host: `init` often is one.
    const there = await lstat(join(root, path)).then(
      () => true,
      () => false,
    )
    if (there) return true
  }
  return false
}

async function usedBytes(shop: Workshop, tree: Tree): Promise<number> {
  const text = await asTreeOwner(shop.run)('du', ['--summarize', '--block-size=1', tree.path])
  return Number.parseInt(text, 10)
}

function roundUp(bytes: number): number {
  const step = 256 * 1024 * 1024
  return Math.ceil(bytes / step) * step
}
