import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { removeNetworkGroup } from '../host/network-group.ts'
import { signalProcess } from '../host/process-identity.ts'
import { findKeeper } from '../memory/keeper.ts'
import { asRametError } from '../shared/errors.ts'
import { adoptVm } from './adopt.ts'
import type { EngineContext } from './context.ts'
import { inParallel } from './mutex.ts'
import type { EngineParts } from './parts.ts'
import { endAllOf, removeDirectory } from './release-vm.ts'
import type { TemplateService } from './template-service.ts'

/** What a restart found without an owner and removed, by kind. */
export type Reaped = Record<string, number>

/**
 * Makes the records and the host agree again after this daemon's start: what runs is adopted, what was
 * half done is finished or undone, and what nobody owns is removed. Can be repeated at any time.
 */
export async function reconcile(parts: EngineParts, templates: TemplateService): Promise<Reaped> {
  const { context } = parts
  const reaped: Reaped = {}
  await reapOrphans(parts, reaped)
  const finishing = new Set(
    context.templates.list().flatMap((template) => (template.making?.captured ? [template.making.vmId] : [])),
  )
  const adoptable = context.vms.list().filter((vm) => !finishing.has(vm.id))
  await inParallel(adoptable, 4, async (vm) => {
    await adoptVm(parts, vm).catch((error: unknown) =>
      context.log.error({ vm: vm.name, error: asRametError(error).message }, 'recovery of a vm failed'),
    )
  })
  await recoverTemplates(parts, templates)
  // Left by a daemon that died between the end of the last user network and this.
  await removeNetworkGroup()
  await parts.bases.sweep()
  return reaped
}

/** Things of owners that have no record: their making was cut short before it was written down that it succeeded. */
async function reapOrphans(parts: EngineParts, reaped: Reaped): Promise<void> {
  const { context } = parts
  const count = (kind: string, by = 1) => {
    if (by > 0) reaped[kind] = (reaped[kind] ?? 0) + by
  }
  for (const [owner, entries] of context.journal.open()) {
    for (const entry of entries)
      if (entry.kind === 'keeper') count('keeper', await reapKeeper(parts, owner, entry.ident))
    const { vms, templates, bases } = context
    if ([vms, templates, bases].some((registry) => registry.get(owner) !== undefined)) continue
    if (owner.startsWith('vm-')) {
      count('process', await endAllOf(context, owner))
      await removeDirectory(context, owner)
    }
    if (owner.startsWith('tpl-')) await rm(context.paths.template(owner), { recursive: true, force: true })
    count('owner')
    context.journal.release(context.journal.openOf(owner).map((entry) => entry.id))
  }
  count('directory', await reapDirectories(context))
}

/** A keeper whose template does not know it holds memory for nobody. */
async function reapKeeper(parts: EngineParts, owner: string, ident: unknown): Promise<number> {
  const baseId = typeof ident === 'object' && ident !== null && 'baseId' in ident ? String(ident.baseId) : ''
  if ((parts.context.templates.get(owner)?.kept ?? parts.context.bases.get(owner)?.kept)?.id === baseId) return 0
  const keeper = await findKeeper(baseId)
  if (keeper === undefined) return 0
  signalProcess(keeper, 'SIGKILL')
  return 1
}

/** Directories that no record names: left by a removal that was cut short after the record had gone. */
async function reapDirectories(context: EngineContext): Promise<number> {
  let count = 0
  for (const name of await readdir(context.paths.vmsDir)) {
    if (context.vms.get(name) !== undefined) continue
    await endAllOf(context, name)
    await removeDirectory(context, name)
    count += 1
  }
  for (const name of await readdir(context.paths.templatesDir)) {
    if (context.templates.get(name) !== undefined) continue
    await rm(join(context.paths.templatesDir, name), { recursive: true, force: true })
    count += 1
  }
  return count
}

async function recoverTemplates(parts: EngineParts, templates: TemplateService): Promise<void> {
  const { context } = parts
  for (const template of context.templates.list()) {
    if (template.state === 'ready' && template.making === undefined) continue
    const handle = { id: 'recovery', signal: new AbortController().signal, progress: () => {} }
    try {
      if (template.state === 'creating' || template.state === 'ready') await templates.recover(template, handle)
      else await templates.discard(template)
    } catch (error) {
      context.log.error(
        { template: template.name, error: asRametError(error).message },
        'recovery of a template failed',
      )
    }
  }
}
