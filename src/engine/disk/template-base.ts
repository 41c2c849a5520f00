/** The stored base of a template, as what is saved of its children refers to it. */
import { join } from 'node:path'
import type { BaseReference } from '../../checkpoint/file/manifest.ts'
import type { OpenBase } from '../../memory/base.ts'
import { contentDigest } from '../../memory/base-manifest.ts'
import { readStoredManifest } from '../../memory/stored-base.ts'
import { isRametError } from '../../shared/errors.ts'
import type { EngineContext } from '../context.ts'
import type { TemplateRecord } from '../records.ts'
import { baseFile } from './bases.ts'

/** The template whose base this is; none for a base that was folded for a fork, which is in memory only. */
export function templateOf(context: EngineContext, { id }: OpenBase): TemplateRecord | undefined {
  return context.templates.list().find(({ baseId }) => baseId === id)
}

/** A base that is not on disk as it should be is no use to anybody who restores: its pages are copied then. */
export async function referenceTo(
  context: EngineContext,
  template: TemplateRecord,
): Promise<BaseReference | undefined> {
  try {
    const manifest = await readStoredManifest(join(context.paths.template(template.id), baseFile))
    return manifest.id === template.baseId ? { id: manifest.id, digest: contentDigest(manifest) } : undefined
  } catch (error) {
    if (!isRametError(error, 'NOT_FOUND') && !isRametError(error, 'BASE_DAMAGED')) throw error
    context.log.warn({ template: template.name, error: error.message }, 'its base is saved with what stands on it')
    return undefined
  }
}
