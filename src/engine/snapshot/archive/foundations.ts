/** What a snapshot stands on and does not bring along: an image, disks and the memory of templates. */
import { join } from 'node:path'
import { contentDigest } from '../../../memory/base-manifest.ts'
import { readStoredManifest } from '../../../memory/stored-base.ts'
import { isRametError, RametError } from '../../../shared/errors.ts'
import type { EngineContext } from '../../context.ts'
import { baseFile } from '../../disk/bases.ts'
import type { Fingerprints } from '../../disk/fingerprints.ts'
import type { DiskRecord, SnapshotRecord, TemplateRecord } from '../../records.ts'
import type { ArchivedDisk, ArchiveManifest } from './archive-manifest.ts'

interface Tools {
  context: EngineContext
  fingerprints: Fingerprints
}

type NamedBase = NonNullable<ArchiveManifest['checkpoint']['base']>

/** @throws RametError `BASE_DAMAGED`, `NOT_FOUND` when the template has no stored base */
export async function describeMemoryBase(
  context: EngineContext,
  { checkpoint }: SnapshotRecord,
): Promise<NamedBase | undefined> {
  if (checkpoint?.baseOf === undefined) return undefined
  const template = context.templates.find(checkpoint.baseOf)
  const manifest = await readStoredManifest(join(context.paths.template(template.id), baseFile))
  return { templateId: template.id, templateName: template.name, id: manifest.id, digest: contentDigest(manifest) }
}

/** @throws RametError `BASE_DAMAGED` */
export async function describeDiskBase(
  { fingerprints }: Tools,
  { base }: DiskRecord,
): Promise<Pick<ArchivedDisk, 'base'>> {
  if (base === undefined) return {}
  return { base: { ...base, sha256: await fingerprints.sha256Of(base) } }
}

/** The image and the templates whose disks an exported snapshot stands on; its memory's template is known by content. */
export function foundationIds({ vm, disks }: ArchiveManifest): Set<string> {
  return new Set([vm.imageId, ...disks.flatMap(({ base }) => (base === undefined ? [] : [base.ownerId]))])
}

/**
 * Looks for everything that an exported snapshot stands on.
 *
 * @returns the template whose base its memory needs, if any
 * @throws RametError `IMAGE_NOT_FOUND`, `CHECKPOINT_UNFIT` naming what is missing or another, and the remedy
 */
export async function findFoundations(tools: Tools, manifest: ArchiveManifest): Promise<TemplateRecord | undefined> {
  const { context } = tools
  const { vm, disks, checkpoint } = manifest
  if (context.images.get(vm.imageId) === undefined) {
    throw new RametError('IMAGE_NOT_FOUND', {
      message: `snapshot ${manifest.name} is of a vm that stands on image ${vm.imageName} (${vm.imageId}), which is not here`,
      remediation: `Bring the image ${vm.imageName} of the host that it is from here first: \`ramet image build\` or \`ramet image import\`.`,
      details: { imageId: vm.imageId, imageName: vm.imageName },
    })
  }
  for (const disk of disks) await requireDiskBase(tools, disk, manifest)
  return checkpoint.base && (await requireMemoryBase(context, checkpoint.base, manifest.name))
}

async function requireDiskBase(tools: Tools, { base }: ArchivedDisk, { name, vm }: ArchiveManifest): Promise<void> {
  if (base === undefined) return
  const { ownerId, owner, file, sha256 } = base
  const what = owner === 'image' ? `image ${vm.imageName}` : `template ${ownerId}`
  const found = await digestOf(tools, base)
  if (found === sha256) return
  const why = found === undefined ? 'is not here' : `is another one here (${found.slice(0, 16)})`
  throw new RametError('CHECKPOINT_UNFIT', {
    message: `a disk of snapshot ${name} stands on ${file} of ${what} (${sha256.slice(0, 16)}), which ${why}`,
    remediation:
      owner === 'image'
        ? 'Bring the very image of the host that it is from here; one that was built anew has other content.'
        : 'Restore it where that template is, or snapshot a vm that was booted from an image.',
    details: { base, found },
  })
}

async function digestOf({ context, fingerprints }: Tools, base: NonNullable<ArchivedDisk['base']>) {
  const { owner, ownerId, file } = base
  const known = owner === 'image' ? context.images.get(ownerId) : context.templates.get(ownerId)
  if (known === undefined) return undefined
  try {
    return await fingerprints.sha256Of({ owner, ownerId, file })
  } catch (error) {
    if (isRametError(error, 'BASE_DAMAGED')) return undefined
    throw error
  }
}

/** By its content: a template that was made elsewhere has another id, and may have the same memory. */
async function requireMemoryBase(context: EngineContext, base: NamedBase, name: string): Promise<TemplateRecord> {
  for (const template of context.templates.list()) {
    if (template.state !== 'ready' || template.baseId !== base.id) continue
    const path = join(context.paths.template(template.id), baseFile)
    const digest = await readStoredManifest(path).then(contentDigest, () => undefined)
    if (digest === base.digest) return template
  }
  throw new RametError('CHECKPOINT_UNFIT', {
    message: `the memory of snapshot ${name} needs that of template ${base.templateName} (${base.id}), which is not here`,
    remediation: `Restore it where template ${base.templateName} is; or take a snapshot that needs no template: \`ramet snapshot create VM --full\`.`,
    details: { base },
  })
}
