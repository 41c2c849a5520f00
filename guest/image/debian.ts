import { join } from 'node:path'
import { limits } from '../../src/shared/limits.ts'
import { debianSuite } from './apt.ts'
import { writeBootFiles } from './boot-files.ts'
import { composeCmdline } from './cmdline.ts'
import type { BuildContext } from './context.ts'
import { bootstrapDebian, debianPackages, overlayFiles } from './debian-root.ts'
import { digestOfValue } from './digest.ts'
import { convertToQcow2, makeExt4, unpackTree, uuidOf } from './ext4.ts'
import type { HostTool } from './host-tools.ts'
import { diskFile, type ImageManifest } from './manifest.ts'
import { inWorkshop, makeImage } from './workshop.ts'

const tools: HostTool[] = ['mmdebstrap', 'mke2fs', 'qemu-img', 'tar']

/** A small Debian with Python, on a disk. */
export async function buildDebian(context: BuildContext): Promise<ImageManifest> {
  return inWorkshop(context, { name: 'debian', tools, trees: true }, async (shop) => {
    const cmdline = composeCmdline({ init: 'agent', rootDevice: '/dev/vda' })
    const diskBytes = limits.imageDiskDefaultBytes
    const inputs = { recipe: 'debian', cmdline, suite: debianSuite, packages: debianPackages, overlayFiles, diskBytes }
    return makeImage(shop, inputs, { trees: true }, async (bench, id) => {
      const kernelRoot = await writeBootFiles(shop, bench)
      const rootTar = await bootstrapDebian(shop, bench, kernelRoot)
      shop.report('disk', 'making the file system')
      const tree = await unpackTree(rootTar, bench.work, shop.run)
      const raw = await makeExt4(tree, diskBytes, uuidOf(digestOfValue({ id })), shop.run)
      shop.report('disk', 'writing the disk')
      const { virtualBytes } = await convertToQcow2(raw, join(bench.staging, diskFile), shop.run)
      return { recipe: 'debian', init: 'agent', cmdline, disk: { virtualBytes, format: 'qcow2' } }
    })
  })
}
