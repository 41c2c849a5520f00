import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { removeNetworkGroup } from '../../host/network-group.ts'
import { isIdentity, isRunning, signalProcess } from '../../host/process-identity.ts'
import { findKeeper } from '../../memory/keeper.ts'
import { asRametError } from '../../shared/errors.ts'
import type { EngineContext } from '../context.ts'
import { inParallel } from '../mutex.ts'
import type { EngineParts } from '../parts.ts'
import { pageServerOwner, sweepPageServers } from '../restore/page-server-link.ts'
import { recoverSnapshots } from '../snapshot/discard-snapshot.ts'
import type { TemplateService } from '../template/template-service.ts'
import { endAllOf, removeDirectory } from '../vm/release-vm.ts'
import { adoptVm } from './adopt.ts'

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
  sweepPageServers(context)
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
  parts.settling.schedule()
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
    if (owner === pageServerOwner || [vms, templates, bases].some((registry) => registry.get(owner) !== undefined))
      continue
    if (owner.startsWith('vm-')) {
      count('process', await endAllOf(context, owner))
      await removeDirectory(context, owner)
    }
    if (owner.startsWith('tpl-')) await rm(context.paths.template(owner), { recursive: true, force: true })
    count('owner')
    context.journal.release(context.journal.openOf(owner).map((entry) => entry.id))
  }
  count('directory', (await reapDirectories(context)) + (await recoverSnapshots(parts)))
}

/**
 * A keeper that its owner does not know holds memory for nobody: the first one of a base whose making was cut
 * short, or a second one that was started when the first had gone.
 */
async function reapKeeper(parts: EngineParts, owner: string, ident: unknown): Promise<number> {
  const { templates, bases } = parts.context
  const baseId = typeof ident === 'object' && ident !== null && 'baseId' in ident ? String(ident.baseId) : ''
  const kept = (templates.get(owner) ?? bases.get(owner))?.kept
  const keeper = isIdentity(ident) ? ident : kept?.id === baseId ? undefined : findKeeper(baseId)
  if (keeper === undefined || !isRunning(keeper)) return 0
  if (kept?.id === baseId && kept.keeper.pid === keeper.pid) return 0
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
  for (const name of await readdir(context.paths.suspendedDir)) {
    if (context.vms.get(name)?.suspended !== undefined) continue
    await rm(join(context.paths.suspendedDir, name), { recursive: true, force: true })
    count += 1
  }
  for (const name of await readdir(context.paths.deltasDir)) {
    if (context.deltas.get(name) !== undefined) continue
    await rm(join(context.paths.deltasDir, name), { recursive: true, force: true })
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
