import { randomUUID } from 'node:crypto'
import { type Launched, launch } from '../fork/launch.ts'
import { macOf } from '../fork/seat.ts'
import { checkMemoryFor } from '../memory/base.ts'
import { armIncoming } from '../qemu/incoming.ts'
import { asRametError } from '../shared/errors.ts'
import { newId } from '../shared/ids.ts'
import { Revert } from '../shared/revert.ts'
import type { Guest } from './guest.ts'
import { vmmOverheadBytes } from './limits-of-vm.ts'
import type { EngineParts } from './parts.ts'
import type { TemplateRecord, VmRecord } from './records.ts'
import { endAllOf, removeDirectory } from './release-vm.ts'
import { launchPlan } from './vm-plan.ts'

/** A QEMU that waits for a template's state, and the vm it will be. */
export interface ArmedChild {
  /** all of its record but what the fork's caller decides */
  draft: VmRecord
  launched: Launched
  /** connected already, though there is nobody yet to talk to */
  guest: Guest
}

/** The record of a template's next child. */
export function draftChild(parts: EngineParts, template: TemplateRecord): VmRecord {
  const { context } = parts
  const id = newId('vm', context.random)
  return {
    schemaVersion: 1,
    id,
    name: id,
    state: 'starting',
    source: { kind: 'template', id: template.id, name: template.name },
    imageId: template.imageId,
    imageName: template.imageName,
    parentId: template.id,
    templateId: template.id,
    generation: template.generation + 1,
    depth: template.depth + 1,
    hostname: id,
    seat: context.seats.take(),
    baseId: template.baseId,
    generationId: randomUUID(),
    init: template.init,
    machine: template.machine,
    disks: template.disks,
    nics: template.nics.map(({ network }, index) => ({ network, mac: macOf(id, index) })),
    link: 'up',
    labels: {},
    environment: template.environment,
    ports: [],
    limits: {},
    restart: { mode: 'no' },
    restartCount: 0,
    helpers: [],
    ...(template.agentProtocol === undefined ? {} : { agentProtocol: template.agentProtocol }),
    createdAtMs: context.clock.nowMs(),
  }
}

/**
 * Starts a QEMU for a child ahead of its fork: directory, delta disks, process, base mapped. All that is
 * left is to load the devices and go.
 *
 * @throws RametError `NO_CAPACITY`, `VMM_FAILED`, `NO_SPACE`; nothing is left then
 */
export async function armChild(
  parts: EngineParts,
  template: TemplateRecord,
  operationId: string,
  signal?: AbortSignal,
): Promise<ArmedChild> {
  const { context } = parts
  checkMemoryFor(vmmOverheadBytes, `a child of ${template.name}`)
  const base = await parts.bases.of(template)
  const manifest = await parts.images.manifest(template.imageId)
  const draft = draftChild(parts, template)
  await using revert = new Revert((what, error) =>
    context.log.warn({ vm: draft.id, what, error: asRametError(error).message }, 'undo failed'),
  )
  revert.add('child', () => discardDraft(parts, draft))
  const plan = launchPlan(context, { vm: draft, manifest, operationId, base })
  const launched = await launch(plan, { journal: context.journal, spawn: context.spawn }, signal)
  revert.add('QEMU', () => launched.qemu.kill())
  await armIncoming(launched.qemu)
  const guest = parts.runtimes.guestOf(draft.id, launched.qemu)
  revert.add('link', () => guest.close())
  await guest.connectAhead()
  revert.keep()
  return { draft: { ...draft, process: launched.qemu.identity, helpers: launched.helpers }, launched, guest }
}

/** Ends a child that will not be forked; the descriptors that this daemon has of it go too. */
export async function discardArmed(parts: EngineParts, child: ArmedChild): Promise<void> {
  child.guest.close()
  await child.launched.qemu.kill()
  await discardDraft(parts, child.draft)
}

/** Takes away a child that has no record yet. */
async function discardDraft(parts: EngineParts, draft: VmRecord): Promise<void> {
  await endAllOf(parts.context, draft.id)
  await removeDirectory(parts.context, draft.id)
  parts.context.seats.free(draft.seat)
}
