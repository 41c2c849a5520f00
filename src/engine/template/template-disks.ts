import { existsSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { openChain } from '../../disk/chain.ts'
import { sealInPlace, unsealDisk } from '../../disk/seal.ts'
import { makeTemplateDisk, planTemplateDisk } from '../../disk/template-disk.ts'
import { diskFile } from '../../fork/disk-file.ts'
import { faultPoint } from '../../shared/fault.ts'
import type { Revert } from '../../shared/revert.ts'
import type { EngineContext } from '../context.ts'
import type { OperationHandle } from '../operations.ts'
import type { DiskBase, DiskRecord, TemplateRecord, VmRecord } from '../records.ts'
import { userOf } from '../vm/vm-plan.ts'

/**
 * Turns the disks of a stopped vm into what a template's children stand on. Repeating it after a crash
 * finishes what was begun.
 *
 * @param revert gives the vm back what was taken of it
 * @throws RametError `NO_SPACE`, `IMAGE_INVALID`, `BASE_DAMAGED`, `CANCELLED`
 */
export async function sealDisks(
  context: EngineContext,
  template: TemplateRecord,
  vm: VmRecord,
  handle: Pick<OperationHandle, 'progress' | 'signal'>,
  revert: Revert,
): Promise<DiskRecord[]> {
  const disks: DiskRecord[] = []
  for (const [index, disk] of vm.disks.entries()) {
    handle.progress({ stage: 'disks', message: `sealing disk ${index + 1} of ${vm.disks.length}` })
    const from = join(context.paths.vm(vm.id), diskFile(index))
    const to = join(context.paths.template(template.id), diskFile(index))
    const path = await sealDisk(context, { from, to, id: diskBaseId(template.id, index), vm, revert, handle })
    faultPoint('template.disk')
    const base = path === from ? undefined : ownerOf(context, path)
    disks.push({ sizeBytes: disk.sizeBytes, ...(base === undefined ? {} : { base }) })
  }
  return disks
}

/** The same at every attempt, so that a later daemon recognises what an earlier one has sealed. */
function diskBaseId(templateId: string, index: number): string {
  return `base-${templateId.slice(templateId.indexOf('-') + 1)}-${index}`
}

interface DiskSealing {
  from: string
  to: string
  id: string
  vm: VmRecord
  revert: Revert
  handle: Pick<OperationHandle, 'progress' | 'signal'>
}

async function sealDisk(context: EngineContext, sealing: DiskSealing): Promise<string> {
  const { from, to, id, vm, revert, handle } = sealing
  const giveBack = () => unsealDisk(to, from, userOf(context.host, vm.seat))
  if (!existsSync(from) && existsSync(to)) {
    // An earlier daemon moved it and got no further.
    revert.add(`disk ${from}`, giveBack)
    await sealInPlace(to, id)
    return to
  }
  const chain = await openChain(from, [context.paths.imagesDir, context.paths.templatesDir])
  const plan = await planTemplateDisk(chain)
  if (plan.method === 'seal') revert.add(`disk ${from}`, giveBack)
  return await makeTemplateDisk({
    chain,
    plan,
    to,
    id,
    signal: handle.signal,
    onPercent: (percent) =>
      handle.progress({ stage: 'disks', fraction: percent / 100, message: `sealing ${basename(from)}` }),
  })
}

/** `images/<id>/<file>` or `templates/<id>/<file>`. */
function ownerOf(context: EngineContext, path: string): DiskBase {
  const dir = dirname(path)
  const owner = dirname(dir) === context.paths.templatesDir ? 'template' : 'image'
  return { owner, ownerId: basename(dir), file: basename(path) }
}
