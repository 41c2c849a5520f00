import { createHash } from 'node:crypto'
import { writeBootFiles } from './boot-files.ts'
import { busyboxEntries, readBusybox } from './busybox.ts'
import { composeCmdline } from './cmdline.ts'
import type { BuildContext } from './context.ts'
import type { ImageManifest } from './manifest.ts'
import { inWorkshop, makeImage } from './workshop.ts'

/** The smallest guest: kernel, agent, busybox, no disk. For tests and the impatient. */
export async function buildMicro(context: BuildContext): Promise<ImageManifest> {
  return inWorkshop(context, { name: 'micro', tools: ['busybox'], trees: false }, async (shop) => {
    const busybox = await readBusybox(shop.run)
    const cmdline = composeCmdline({ init: 'agent' })
    const inputs = { recipe: 'micro', cmdline, busybox: createHash('sha256').update(busybox.binary).digest('hex') }
    return makeImage(shop, inputs, { trees: false }, async (bench) => {
      await writeBootFiles(shop, bench, busyboxEntries(busybox))
      return { recipe: 'micro', init: 'agent', cmdline, disk: null }
    })
  })
}
