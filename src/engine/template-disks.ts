import { basename, dirname, join } from 'node:path'
import { openChain } from '../disk/chain.ts'
import { makeTemplateDisk, planTemplateDisk } from '../disk/template-disk.ts'
import { diskFile } from '../fork/launch.ts'
import { faultPoint } from '../shared/fault.ts'
import { newId } from '../shared/ids.ts'
import type { EngineContext } from './context.ts'
import type { OperationHandle } from './operations.ts'
import type { DiskBase, DiskRecord, TemplateRecord, VmRecord } from './records.ts'

/**
 * Turns the disks of a stopped vm into what a template's children stand on. Repeating it after a crash
 * finishes what was begun.
 *
 * @throws RametError `NO_SPACE`, `IMAGE_INVALID`, `BASE_DAMAGED`, `CANCELLED`
 */
export async function sealDisks(
  context: EngineContext,
  template: TemplateRecord,
  vm: VmRecord,
  handle: Pick<OperationHandle, 'progress' | 'signal'>,
): Promise<DiskRecord[]> {
  const disks: DiskRecord[] = []
  for (const [index, disk] of vm.disks.entries()) {
    handle.progress({ stage: 'disks', message: `sealing disk ${index + 1} of ${vm.disks.length}` })
    const from = join(context.paths.vm(vm.id), diskFile(index))
    const to = join(context.paths.template(template.id), diskFile(index))
    const chain = await openChain(from, [context.paths.imagesDir, context.paths.templatesDir])
    const plan = await planTemplateDisk(chain)
    const path = await makeTemplateDisk({
      chain,
      plan,
      to,
      id: newId('base', context.random),
      signal: handle.signal,
      onPercent: (percent) =>
        handle.progress({ stage: 'disks', fraction: percent / 100, message: `sealing disk ${index + 1}` }),
    })
    faultPoint('template.disk')
    const base = path === from ? undefined : ownerOf(context, path)
    disks.push({ sizeBytes: disk.sizeBytes, ...(base === undefined ? {} : { base }) })
  }
  return disks
}

/** `images/<id>/<file>` or `templates/<id>/<file>`. */
function ownerOf(context: EngineContext, path: string): DiskBase {
  const dir = dirname(path)
  const owner = dirname(dir) === context.paths.templatesDir ? 'template' : 'image'
  return { owner, ownerId: basename(dir), file: basename(path) }
}
